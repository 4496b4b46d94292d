"""Recraft: variateImage, which takes no prompt and knows no models, and imageToImage. Multipart in, JSON out.

Formats follow the vendor's documentation; the fixtures are composed from it, not recorded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.catalog.profile import Profile
from service.core.calls import CallResult, ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Size
from service.providers import options, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import FormFile, HttpRequest, HttpResponse, SignableRequest

# One API unit; a thousand are a dollar.
_CREDIT_USD = 0.001

_VARIATE = "variate"
_DEFAULT_STRENGTH = 0.5

# The ratios that all generations of its models list.
_RATIOS = ("1:1", "2:1", "1:2", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "14:10", "10:14", "16:9", "9:16")

# The vendor documents no refusal, only that error bodies are text or JSON in no fixed form.
_REFUSAL = re.compile(r"(?i)moderat|nsfw|content.policy|safety|prohibited|inappropriate")


class RecraftVariations:
    """``variate`` is variateImage, which takes no prompt and no model; any other name is a model of imageToImage.

    Options of the endpoint: ``size_form``, ``pixels`` (1024x1024, the default) or ``ratio`` (1:1), for a change of
    the vendor's list of sizes.
    """

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        """One call, up to six images, as base64. variateImage requires a size: without one it is the square.

        imageToImage requires a strength, which is the vendor's own from 0 to 1.
        """
        if call.model == _VARIATE:
            operation = "variateImage"
            fields: dict[str, Any] = {"size": _size(call.size or Size(1024, 1024), endpoint), "random_seed": call.seed}
        else:
            operation = "imageToImage"
            strength = _DEFAULT_STRENGTH if call.strength is None else round(call.strength, 4)
            fields = {"prompt": call.prompt, "strength": strength, "model": call.model}
        fields |= {
            "n": call.n,
            "response_format": "b64_json",
            "image_format": call.output_format.value if call.output_format else None,
        }
        image = call.image
        file = FormFile("image", f"image.{image.format.value}", image.format.media_type, image.data)
        response = yield HttpRequest(
            "POST",
            f"{endpoint.base_url}/images/{operation}",
            body=options.form_body(fields, call.options, (file,)),
        )
        answer = wire.json_object(response)
        return wire.with_cost(lambda: _result(answer), _cost(answer))

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return {"authorization": f"Bearer {credential.secret}"}

    def failure(self, response: HttpResponse) -> GatewayError:
        said = _words(response)
        kind = ErrorKind.CONTENT_REJECTED if response.status in (400, 422) and _REFUSAL.search(said) else None
        return wire.status_error(response, said, kind=kind)


def _result(answer: Mapping[str, Any]) -> CallResult:
    entries = answer.get("data")
    if not isinstance(entries, list) or not entries:
        raise wire.bad_response("it holds no image")
    return CallResult(images=tuple(_image(entry) for entry in entries))


def _size(size: Size, endpoint: Endpoint) -> str:
    return wire.nearest_ratio(size, _RATIOS) if endpoint.options.get("size_form") == "ratio" else str(size)


def _image(entry: Any) -> ProducedImage:
    """An image comes inline, as it was asked for; one that comes by URL all the same is as good."""
    if not isinstance(entry, dict):
        raise wire.bad_response("an image is not an object")
    inline = entry.get("b64_json")
    return wire.image_from_url(entry.get("url")) if inline is None else wire.image_from_base64(inline)


def _cost(answer: Mapping[str, Any]) -> float | None:
    spent = wire.amount(answer.get("credits"))
    return None if spent is None else spent * _CREDIT_USD


def _words(response: HttpResponse) -> str:
    """The body as text; its message and code where, and only where, it says that it is JSON."""
    if "json" not in response.headers.get("content-type", ""):
        return response.body.decode("utf-8", "replace")
    body = wire.lenient_json(response)
    problem = body if isinstance(body, dict) else {}
    words = (problem.get(name) for name in ("message", "code", "error", "detail"))
    return " ".join(word for word in words if isinstance(word, str))
