"""Black Forest Labs: submit, then poll the URL that the answer names. One image a call.

Formats follow the vendor's documentation; the fixtures are composed from it, not recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from service.catalog.profile import Profile
from service.core.calls import CallResult, ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Size
from service.providers import options, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import HttpRequest, HttpResponse, Purpose, SignableRequest

_REFUSALS = ("Request Moderated", "Content Moderated")
_FAILURES = ("Error", "Failed")

# From 21:9 to 9:21, for the models that are told a shape instead of a size.
_RATIOS = ("1:1", "21:9", "16:9", "3:2", "4:3", "5:4", "4:5", "3:4", "2:3", "9:16", "9:21")


# FLUX 3 takes these.
_RATIOS_OF_3 = (*_RATIOS, "2:1", "7:5", "5:7", "1:2")
_PIXELS_OF_1K = 1024 * 1024
_RESOLUTIONS = ((_PIXELS_OF_1K * 3 // 2, "1k"), (_PIXELS_OF_1K * 3, "1.5k"), (_PIXELS_OF_1K * 6, "2k"))


class BlackForestLabs:
    """Models are paths: ``flux-2-pro`` is ``POST /v1/flux-2-pro``.

    Options of the endpoint: ``credit_usd``, what one unit of the reported ``cost`` is worth (0.01 by default; the
    vendor says that a credit is a cent, and that the cost is in credits only by implication).
    """

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        """Strength, where a model has it, becomes ``image_prompt_strength = 1 - strength``: the vendor's knob says
        how much of the source is kept."""
        submitted = wire.json_object(
            (
                yield HttpRequest(
                    "POST",
                    f"{endpoint.base_url}/{wire.model_path(call.model)}",
                    body=options.json_body(_fields(call), call.options),
                )
            )
        )
        poll = _polling_url(submitted, endpoint)
        for delay in wire.poll_delays():
            answer = wire.json_object((yield HttpRequest("GET", poll, Purpose.POLL, delay_s=delay)))
            if _finished(answer):
                break
        made = answer.get("result")
        seeds = wire.seeds(made.get("seed")) if isinstance(made, Mapping) else ()
        return CallResult(images=(_image(answer, call),), cost_usd=_cost(submitted, endpoint), seeds=seeds)

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return {"x-key": credential.secret}

    def failure(self, response: HttpResponse) -> GatewayError:
        body = wire.lenient_json(response)
        problem = body if isinstance(body, dict) else {}
        words = (wire.detail_text(problem.get("detail")), problem.get("message"), problem.get("error"))
        said = next((word for word in words if isinstance(word, str) and word), "")
        # A forgotten job also answers 404, which would otherwise read as a model that is gone.
        kind = ErrorKind.BAD_RESPONSE if "Task not found" in (problem.get("status"), said) else None
        return wire.status_error(response, said, kind=kind)


def _fields(call: ProviderCall) -> dict[str, Any]:
    image = wire.base64_text(call.image.data)
    if call.model.startswith("flux-3"):
        return {
            "prompt": call.prompt,
            "images": [image],
            "aspect_ratio": wire.nearest_ratio(call.size, _RATIOS_OF_3) if call.size else None,
            # The price is by resolution, so none is left to the vendor.
            "resolution": _resolution(call.size),
        }
    fields: dict[str, Any] = {
        "prompt": call.prompt or None,
        "seed": call.seed,
        "output_format": call.output_format.value if call.output_format else None,
    }
    if call.model.startswith("flux-pro-1.1"):
        fields["image_prompt"] = image
    else:
        fields["input_image"] = image
    if call.strength is not None:
        fields["image_prompt_strength"] = round(1 - call.strength, 4)
    if call.size and ("kontext" in call.model or call.model.endswith("-ultra")):
        fields["aspect_ratio"] = wire.nearest_ratio(call.size, _RATIOS)
    elif call.size:
        fields |= {"width": call.size.width, "height": call.size.height}
    return fields


def _resolution(size: Size | None) -> str:
    """FLUX 3's name for about as many pixels."""
    pixels = size.pixels if size else _PIXELS_OF_1K
    return next((name for most, name in _RESOLUTIONS if pixels <= most), "4k")


def _polling_url(submitted: Mapping[str, Any], endpoint: Endpoint) -> str:
    """The URL to poll: the one in the answer, since jobs live in regions; older deployments give only the id."""
    url, identifier = submitted.get("polling_url"), submitted.get("id")
    if isinstance(url, str) and url:
        return url
    if isinstance(identifier, str) and identifier:
        return f"{endpoint.base_url}/get_result?id={quote(identifier, safe='')}"
    raise wire.bad_response("it does not say where to poll")


def _finished(answer: Mapping[str, Any]) -> bool:
    """Whether the image is there. Statuses that are not known yet are waited out."""
    status = answer.get("status")
    if status in _REFUSALS:
        raise wire.rejected(f"{status}{_reasons(answer)}.")
    if status in _FAILURES:
        raise GatewayError(ErrorKind.UNAVAILABLE, f"The provider could not make the image{_reasons(answer)}.")
    if status == "Task not found":
        raise wire.bad_response("it has lost the task")
    if not isinstance(status, str):
        raise wire.bad_response("the task has no status")
    return status == "Ready"


def _reasons(answer: Mapping[str, Any]) -> str:
    """What ``details`` holds, such as ``{"Moderation Reasons": ["Derivative Works Filter"]}``."""
    details = answer.get("details")
    if not isinstance(details, dict):
        return ""
    values = [item for value in details.values() for item in (value if isinstance(value, list) else [value])]
    words = ", ".join(value for value in values if isinstance(value, str))
    return f" ({wire.excerpt(words)})" if words else ""


def _image(answer: Mapping[str, Any], call: ProviderCall) -> ProducedImage:
    result = answer.get("result")
    image = wire.image_from_url(result.get("sample") if isinstance(result, dict) else None)
    prompt = result.get("prompt") if isinstance(result, dict) else None
    revised = prompt if isinstance(prompt, str) and prompt != call.prompt else ""
    return ProducedImage(data=image.data, url=image.url, revised_prompt=revised)


def _cost(submitted: Mapping[str, Any], endpoint: Endpoint) -> float | None:
    cost, credit = wire.amount(submitted.get("cost")), wire.amount(endpoint.options.get("credit_usd", "0.01"))
    return None if cost is None or credit is None else cost * credit
