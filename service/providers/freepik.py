"""Freepik (Magnific): reimagine-flux, which varies a picture without a prompt.

Request and answer follow the vendor's documentation; none is recorded. Clients disagree on whether the first answer
holds the picture, so it is taken from there or polled for, at the path that the vendor's other tasks have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from service.catalog.profile import Profile
from service.core.calls import CallResult, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.providers import options, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import HttpRequest, HttpResponse, Purpose, SignableRequest

_PATH = "/ai/beta/text-to-image/"
_MODELS = ("reimagine-flux",)
_REFUSAL = re.compile(r"(?i)\bnsfw\b|moderat|safety|prohibited|inappropriate|content policy")


class FreepikReimagine:
    """JSON ``POST {base_url}/ai/beta/text-to-image/reimagine-flux``, one image a call in the shape of the source.

    Strength becomes ``imagination``: subtle up to a third, vivid up to two thirds, wild above.
    """

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        if call.model not in _MODELS:
            raise wire.unknown_model(call.model)
        fields = {
            "image": wire.base64_text(call.image.data),
            "prompt": call.prompt or None,
            "imagination": _imagination(call.strength),
            "aspect_ratio": "original",
        }
        url = f"{endpoint.base_url}{_PATH}{call.model}"
        task = _task(wire.json_object((yield HttpRequest("POST", url, body=options.json_body(fields, call.options)))))
        identifier = task.get("task_id")
        delays = wire.poll_delays()
        while not _finished(task):
            if not isinstance(identifier, str) or not identifier:
                raise wire.bad_response("the task has no id")
            poll = f"{url}/{quote(identifier, safe='')}"
            task = _task(wire.json_object((yield HttpRequest("GET", poll, Purpose.POLL, delay_s=next(delays)))))
        generated = task.get("generated")
        if not isinstance(generated, list) or not generated:
            raise wire.bad_response("it holds no image")
        return CallResult(images=tuple(wire.image_from_url(each) for each in generated[: call.n]))

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return {"x-freepik-api-key": credential.secret}

    def failure(self, response: HttpResponse) -> GatewayError:
        return wire.error_with_message(response, refusal=_REFUSAL)


def _imagination(strength: float | None) -> str | None:
    if strength is None:
        return None
    return "subtle" if strength <= 1 / 3 else "vivid" if strength <= 2 / 3 else "wild"


def _task(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    task = answer.get("data")
    if not isinstance(task, Mapping):
        raise wire.bad_response("it holds no task")
    return task


def _finished(task: Mapping[str, Any]) -> bool:
    """Whether the picture is there. Statuses that are not known yet are waited out."""
    status = task.get("status")
    if not isinstance(status, str):
        raise wire.bad_response("the task has no status")
    if status == "FAILED":
        raise GatewayError(ErrorKind.UNAVAILABLE, "The provider could not make the image.")
    return status == "COMPLETED" or bool(task.get("generated"))
