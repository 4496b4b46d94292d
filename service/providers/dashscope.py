"""Alibaba Cloud Model Studio (DashScope): Qwen-Image, as a message with a picture and a text. Links come back.

Request and answer follow published client code; none is recorded. An error may come with a 200.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.catalog.profile import Profile
from service.core.calls import CallResult, ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.providers import options, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import HttpRequest, HttpResponse, JsonBody, SignableRequest

_PATH = "/services/aigc/multimodal-generation/generation"

# Whether the vendor may rewrite the prompt or stamp its mark on the picture; it costs the same.
_DEFAULTS = frozenset({"prompt_extend", "watermark"})

# By what the error's code begins with, which says more than the status. Codes that are not here go by their status.
_MEANINGS = (
    (re.compile(r"DataInspection|.*[Ii]nappropriate"), ErrorKind.CONTENT_REJECTED),
    (re.compile(r"Throttling"), ErrorKind.RATE_LIMITED),
    (re.compile(r"InvalidApiKey|Arrearage|AccessDenied|AllocationQuota"), ErrorKind.UPSTREAM_AUTH),
    (re.compile(r"Model\.?NotFound|ModelNotExist|ModelNotOpen"), ErrorKind.MODEL_GONE),
    (re.compile(r"InvalidParameter|BadRequest"), ErrorKind.UNSUPPORTED),
    (re.compile(r"InternalError|SystemError|ServiceUnavailable"), ErrorKind.UNAVAILABLE),
)


class DashScopeImages:
    """JSON ``POST {base_url}/services/aigc/multimodal-generation/generation``. ``provider_options`` are parameters."""

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        content = [{"image": wire.data_url(call.image)}, {"text": call.prompt}]
        parameters = {
            "n": call.n,
            "size": f"{call.size.width}*{call.size.height}" if call.size else None,
            "seed": None if call.seed is None else call.seed % 2**31,
            "prompt_extend": False,
            "watermark": False,
        }
        body: dict[str, Any] = {
            "model": call.model,
            "input": {"messages": [{"role": "user", "content": content}]},
            "parameters": options.json_body(parameters, call.options, defaults=_DEFAULTS).value,
        }
        answer = wire.json_object((yield HttpRequest("POST", f"{endpoint.base_url}{_PATH}", body=JsonBody(body))))
        if isinstance(code := answer.get("code"), str) and code:
            raise _failure_inside(code, wire.text_or_empty(answer.get("message")))
        return _result(answer)

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return {"authorization": f"Bearer {credential.secret}"}

    def failure(self, response: HttpResponse) -> GatewayError:
        body = wire.lenient_json(response)
        fields = body if isinstance(body, dict) else {}
        code = wire.text_or_empty(fields.get("code"))
        said = f"{code} {wire.text_or_empty(fields.get('message'))}".strip()
        return wire.status_error(response, said, kind=_kind(code))


def _kind(code: str) -> ErrorKind | None:
    return next((kind for meaning, kind in _MEANINGS if meaning.match(code)), None)


def _failure_inside(code: str, message: str) -> GatewayError:
    """The error that a 200 tells of: refusals and throttling did no work, for the rest nobody says."""
    kind = _kind(code)
    if kind is ErrorKind.CONTENT_REJECTED:
        return wire.rejected(f"{code}: {message}")
    said = wire.excerpt(f"{code}: {message}")
    ran = kind in (None, ErrorKind.UNAVAILABLE)
    return GatewayError(kind or ErrorKind.BAD_RESPONSE, f"The provider answered {said}", may_have_run=ran)


def _result(answer: Mapping[str, Any]) -> CallResult:
    output = answer.get("output")
    choices = output.get("choices") if isinstance(output, Mapping) else None
    images: list[ProducedImage] = []
    for choice in choices if isinstance(choices, list) else ():
        message = choice.get("message") if isinstance(choice, Mapping) else None
        content = message.get("content") if isinstance(message, Mapping) else None
        parts = content if isinstance(content, list) else []
        images += [
            wire.image_from_url(part["image"]) for part in parts if isinstance(part, Mapping) and "image" in part
        ]
    if not images:
        raise wire.bad_response("it holds no image")
    return CallResult(images=tuple(images))
