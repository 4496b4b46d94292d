"""Runware: a list of tasks in, a list of results out, each with what it cost.

Request and answer follow the vendor's own client; none is recorded.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.catalog.profile import Profile
from service.core.calls import CallResult, ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.providers import facts, options, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import HttpRequest, HttpResponse, JsonBody, SignableRequest

_REFUSAL = re.compile(r"(?i)nsfw|moderat|safety|content ?policy|inappropriate")

# By what the code of an error holds. Codes that are not here go by their status.
_MEANINGS = (
    (_REFUSAL, ErrorKind.CONTENT_REJECTED),
    (re.compile(r"(?i)api ?key|unauthori|insufficient ?credit|billing"), ErrorKind.UPSTREAM_AUTH),
    (re.compile(r"(?i)rate ?limit|too ?many"), ErrorKind.RATE_LIMITED),
    (re.compile(r"(?i)model.*(not ?found|invalid)|invalid.*model"), ErrorKind.MODEL_GONE),
    (re.compile(r"(?i)timeout"), ErrorKind.TIMEOUT),
    (re.compile(r"(?i)invalid|missing|unsupported"), ErrorKind.UNSUPPORTED),
)


class RunwareImages:
    """JSON ``POST {base_url}/v1`` with one task. Whether a model takes the source as ``seedImage`` (with a strength) or
    as ``referenceImages[]`` is a fact of its profile."""

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        facts.require_image_field(call, profile, endpoint)
        fields = facts.fields(call, profile, wire.data_url(call.image))
        fields["positivePrompt"] = fields.pop("prompt")
        task = {
            "taskType": "imageInference",
            "taskUUID": _task_id(call),
            "model": call.model,
            **fields,
            "outputType": "base64Data",
            "outputFormat": None if call.output_format is None else _FORMATS[call.output_format.value],
            "includeCost": True,
        }
        tasks = [options.json_body(task, call.options).value]
        answer = wire.json_object((yield HttpRequest("POST", f"{endpoint.base_url}/v1", body=JsonBody(tasks))))
        return _result(answer, call.n)

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return {"authorization": f"Bearer {credential.secret}"}

    def failure(self, response: HttpResponse) -> GatewayError:
        code, said = _first_error(wire.lenient_json(response))
        kind = _kind(code) if response.status in (400, 422) else None
        return wire.status_error(response, f"{code} {said}".strip(), kind=kind)


_FORMATS = {"png": "PNG", "jpeg": "JPG", "webp": "WEBP"}


def _task_id(call: ProviderCall) -> str:
    """A UUID of the work itself: results are told apart by it within one request, and here each has one task."""
    work = (call.model, call.n, call.seed, call.size, call.prompt, hashlib.sha256(call.image.data).hexdigest())
    return str(uuid.UUID(bytes=hashlib.sha256(repr(work).encode("utf-8", "replace")).digest()[:16], version=4))


def _first_error(body: object) -> tuple[str, str]:
    """The code and the words of an answer's first error; empty where there is none."""
    errors = body.get("errors") if isinstance(body, Mapping) else None
    error = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(error, Mapping):
        return "", ""
    return wire.text_or_empty(error.get("code")), wire.text_or_empty(error.get("message"))


def _kind(code: str) -> ErrorKind | None:
    return next((kind for meaning, kind in _MEANINGS if meaning.search(code)), None)


def _result(answer: Mapping[str, Any], asked: int) -> CallResult:
    data = answer.get("data")
    entries = [entry for entry in data if isinstance(entry, Mapping)] if isinstance(data, list) else []
    kept = [entry for entry in entries if entry.get("NSFWContent") is not True]
    images: list[ProducedImage] = [_image(entry) for entry in kept]
    code, said = _first_error(answer)
    if not images and code:
        if (kind := _kind(code)) is ErrorKind.CONTENT_REJECTED:
            raise wire.rejected(f"{code}: {said}")
        raise GatewayError(kind or ErrorKind.BAD_RESPONSE, f"The provider answered {wire.excerpt(f'{code}: {said}')}")
    if not images and entries:
        raise wire.rejected("the safety checker flagged every image.")
    if not images:
        raise wire.bad_response("it holds no image")
    costs = [wire.amount(entry.get("cost")) for entry in entries]
    known = [cost for cost in costs if cost is not None]
    missing = asked - len(images)
    return CallResult(
        images=tuple(images),
        cost_usd=sum(known) if known else None,
        seeds=wire.seeds(*(entry.get("seed") for entry in kept)),
        warnings=(f"Runware made {len(images)} of {asked} images.",) if missing > 0 else (),
    )


def _image(entry: Mapping[str, Any]) -> ProducedImage:
    inline = entry.get("imageBase64Data")
    return wire.image_from_url(entry.get("imageURL")) if inline is None else wire.image_from_base64(inline)
