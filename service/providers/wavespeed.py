"""WaveSpeed: a model is a path, an answer is waited for by polling.

Request and answer follow the vendor's documentation; none is recorded.
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
from service.providers import facts, options, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import HttpRequest, HttpResponse, Purpose, SignableRequest

_REFUSAL = re.compile(r"(?i)\bnsfw\b|sensitive|moderat|safety (checker|filter|system)|content policy")


class WaveSpeedPredictions:
    """JSON ``POST {base_url}/{model}``, then ``GET {base_url}/predictions/{id}/result`` until it is there. Which field
    takes the source is a fact of the model's profile."""

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        path = wire.model_path(call.model, segments=range(2, 6))
        facts.require_image_field(call, profile, endpoint)
        fields = facts.fields(call, profile, wire.data_url(call.image))
        if call.size is not None and "size" in fields:
            fields["size"] = f"{call.size.width}*{call.size.height}"
        body = options.json_body(fields, call.options)
        task = _task(wire.json_object((yield HttpRequest("POST", f"{endpoint.base_url}/{path}", body=body))))
        identifier = task.get("id")
        delays = wire.poll_delays()
        while not _finished(task):
            if not isinstance(identifier, str) or not identifier:
                raise wire.bad_response("the prediction has no id")
            url = f"{endpoint.base_url}/predictions/{quote(identifier, safe='')}/result"
            task = _task(wire.json_object((yield HttpRequest("GET", url, Purpose.POLL, delay_s=next(delays)))))
        return _result(task, call.n)

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return {"authorization": f"Bearer {credential.secret}"}

    def failure(self, response: HttpResponse) -> GatewayError:
        return wire.error_with_message(response, refusal=_REFUSAL)


def _task(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    task = answer.get("data")
    if not isinstance(task, Mapping):
        raise wire.bad_response("it holds no prediction")
    return task


def _finished(task: Mapping[str, Any]) -> bool:
    """Whether it is done. Statuses that are not known yet are waited out."""
    status = task.get("status")
    if status == "failed":
        said = wire.text_or_empty(task.get("error"))
        if _REFUSAL.search(said):
            raise wire.rejected(said)
        raise GatewayError(ErrorKind.UNAVAILABLE, f"The prediction failed: {wire.excerpt(said) or 'no reason given'}")
    if not isinstance(status, str):
        raise wire.bad_response("the prediction has no status")
    return status == "completed"


def _result(task: Mapping[str, Any], asked: int) -> CallResult:
    outputs = task.get("outputs")
    if not isinstance(outputs, list) or not outputs:
        raise wire.bad_response("it holds no image")
    flags = task.get("has_nsfw_contents")
    flagged = [flag is True for flag in flags] if isinstance(flags, list) else []
    flagged += [False] * (len(outputs) - len(flagged))
    images = tuple(
        wire.image_from_url(output) for output, held_back in zip(outputs, flagged, strict=False) if not held_back
    )
    if not images:
        raise wire.rejected("the safety checker flagged every image.")
    missing = asked - len(images)
    warnings = (f"WaveSpeed made {len(images)} of {asked} images.",) if missing > 0 else ()
    return CallResult(images=images, warnings=warnings)
