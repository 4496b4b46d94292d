"""Ideogram's remix: multipart in, JSON with links out. Its v1 paths (3.0 and 4.0) and its v2 API.

Requests and answers follow the vendor's OpenAPI description and API overview; none is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from service.catalog.profile import Profile
from service.core.calls import CallResult, ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.providers import options, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import FormFile, HttpRequest, HttpResponse, SignableRequest

# Whether the vendor may rewrite the prompt; it costs the same.
_DEFAULTS = frozenset({"magic_prompt"})

_SEEDS = 2**31  # The vendor's go up to 2**31 - 1, ours to 2**32 - 1.


@dataclass(frozen=True, slots=True)
class _Form:
    """The request form of one generation of the API."""

    path: str
    prompt_field: str = "prompt"
    counts: bool = True  # Takes num_images and seed.
    keeps_prompt: bool = True  # Takes magic_prompt=OFF: the vendor shall not rewrite the prompt.


_FORMS: Mapping[str, _Form] = {
    "ideogram-v3": _Form("/v1/ideogram-v3/remix"),
    "ideogram-v4": _Form("/v1/ideogram-v4/remix", prompt_field="text_prompt", counts=False, keeps_prompt=False),
}


class IdeogramRemix:
    """Models: ``ideogram-v3`` and ``ideogram-v4`` (v1 API); any other name (``auto``, ``ideogram-4``, …) is one of
    the v2 API's, which has the model in its path."""

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        """One call, several images by URL.

        ``image_weight`` runs from 100 (the source) to 1: strength becomes ``round(100 - 99 * strength)``; without
        one the vendor chooses.
        """
        form = _FORMS.get(call.model) or _Form(f"/v2/image/remix/{wire.model_path(call.model)}", keeps_prompt=False)
        source = FormFile("image", f"image.{call.image.format.value}", call.image.format.media_type, call.image.data)
        response = yield HttpRequest(
            "POST",
            endpoint.base_url + form.path,
            body=options.form_body(_fields(form, call), call.options, (source,), defaults=_DEFAULTS),
        )
        return _result(wire.json_object(response))

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return {"api-key": credential.secret}

    def failure(self, response: HttpResponse) -> GatewayError:
        body = wire.lenient_json(response)
        fields = body if isinstance(body, dict) else {}
        said = next((fields[name] for name in ("error", "message", "detail") if isinstance(fields.get(name), str)), "")
        kind = None
        if response.status == 422:
            kind = ErrorKind.CONTENT_REJECTED  # The only thing that the vendor documents for 422.
        elif isinstance(reason := fields.get("reject_reason"), str):
            # 402 and 429 alike; all but the first are about the account and do not pass by waiting.
            kind = ErrorKind.RATE_LIMITED if reason == "inflight_limit" else ErrorKind.UPSTREAM_AUTH
        return wire.status_error(response, said, kind=kind)


def _fields(form: _Form, call: ProviderCall) -> Mapping[str, Any]:
    return {
        form.prompt_field: call.prompt,
        "image_weight": None if call.strength is None else round(100 - 99 * call.strength),
        "num_images": call.n if form.counts else None,
        "seed": call.seed % _SEEDS if form.counts and call.seed is not None else None,
        "resolution": None if call.size is None else str(call.size),
        "magic_prompt": "OFF" if form.keeps_prompt else None,
    }


def _result(answer: Mapping[str, Any]) -> CallResult:
    data = answer.get("data")
    images: list[ProducedImage] = []
    refused = 0
    for item in data if isinstance(data, list) else ():
        if not isinstance(item, dict):
            raise wire.bad_response("an image is not an object")
        if item.get("is_image_safe") is False:
            refused += 1
            continue
        prompt = item.get("prompt")
        image = wire.image_from_url(item.get("url"))
        images.append(replace(image, revised_prompt=prompt if isinstance(prompt, str) else ""))
    if not images and refused:
        raise wire.rejected("its safety check failed the result.")
    if not images:
        raise wire.bad_response("it holds no image")
    warnings = (f"The provider refused {refused} of {refused + len(images)} images.",) if refused else ()
    seeds = wire.seeds(*(item.get("seed") for item in data)) if isinstance(data, list) else ()
    return CallResult(images=tuple(images), warnings=warnings, seeds=seeds)
