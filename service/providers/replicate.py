"""Replicate: FLUX Redux as a prediction, waited for in the first request and polled for afterwards.

The envelope and its errors are recorded ones; the input's fields follow the models' schemas. That flagged images
are dropped in silence, and what the error says when all of them were, is how the models' public source does it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.catalog.profile import Profile
from service.core.calls import CallResult, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import ImageFormat, Size
from service.providers import wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import HttpRequest, HttpResponse, Purpose, SignableRequest

_RATIOS = ("1:1", "16:9", "21:9", "3:2", "2:3", "4:5", "5:4", "3:4", "4:3", "9:16", "9:21")

# Between a quarter of a megapixel and a whole one; the models know no third size.
_SMALL_PIXELS = 512 * 1024

_REFUSAL = re.compile(r"(?i)\bnsfw\b|flagged as sensitive|safety (checker|filter|system)|content policy")


class ReplicatePredictions:
    """Models named ``owner/name``, or ``owner/name:version`` for one fixed version.

    Options of the endpoint: ``wait_s``, from 0 to 60, is how long the first request waits (``Prefer: wait``). With
    0 there is something to cancel at once; with more, most calls need no second request.
    """

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        """One call, up to four images. A size becomes the nearest ``aspect_ratio``, at 1 or 0.25 megapixels."""
        fields = {
            "redux_image": wire.data_url(call.image),
            "prompt": call.prompt or None,
            "num_outputs": call.n,
            **_shape(call.size),
            "seed": call.seed,
            "output_format": _format_name(call.output_format),
        }
        prediction = wire.json_object((yield _submission(call, wire.merged(fields, call.options).value, endpoint)))
        delays = wire.poll_delays()
        while not _finished(prediction):
            poll, cancel = _links(prediction)
            request = HttpRequest("GET", poll, Purpose.POLL, delay_s=next(delays), cancel=cancel)
            prediction = wire.json_object((yield request))
        return _result(prediction, call.n)

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return {"authorization": f"Bearer {credential.secret}"}

    def failure(self, response: HttpResponse) -> GatewayError:
        body = wire.lenient_json(response)
        problem = body if isinstance(body, dict) else {}
        said = wire.detail_text(problem.get("detail")) or str(problem.get("title") or "")
        kind = ErrorKind.CONTENT_REJECTED if response.status in (400, 422) and _REFUSAL.search(said) else None
        return wire.status_error(response, said, kind=kind)


def _submission(call: ProviderCall, fields: Mapping[str, Any], endpoint: Endpoint) -> HttpRequest:
    name, colon, version = call.model.partition(":")
    path = wire.model_path(name, segments=range(2, 3))
    body: dict[str, Any] = {"input": dict(fields)}
    if colon:
        url = f"{endpoint.base_url}/predictions"
        body["version"] = wire.model_path(version)
    else:
        url = f"{endpoint.base_url}/models/{path}/predictions"
    wait = endpoint.options.get("wait_s", "60")
    if not re.fullmatch(r"[0-9]|[1-5][0-9]|60", wait):
        raise GatewayError(ErrorKind.INTERNAL, "The provider's option wait_s must be 0 to 60 seconds.")
    headers = {} if wait == "0" else {"prefer": f"wait={wait}"}
    return HttpRequest("POST", url, headers=headers, body=wire.merged(body, {}))


def _shape(size: Size | None) -> Mapping[str, str]:
    if size is None:
        return {}
    return {
        "aspect_ratio": wire.nearest_ratio(size, _RATIOS),
        "megapixels": "0.25" if size.pixels <= _SMALL_PIXELS else "1",
    }


def _format_name(output_format: ImageFormat | None) -> str | None:
    if output_format is None:
        return None
    return "jpg" if output_format is ImageFormat.JPEG else output_format.value


def _finished(prediction: Mapping[str, Any]) -> bool:
    """Whether it has succeeded. Statuses that are not known yet are waited out, as Replicate's client does."""
    status = prediction.get("status")
    if status == "failed":
        said = prediction.get("error")
        said = said if isinstance(said, str) else ""
        if _REFUSAL.search(said):
            raise wire.rejected(said)
        raise GatewayError(ErrorKind.UNAVAILABLE, f"The prediction failed: {wire.excerpt(said) or 'no reason given'}")
    if status in ("canceled", "aborted"):
        raise GatewayError(ErrorKind.UNAVAILABLE, f"The prediction was {status} at the provider.")
    if not isinstance(status, str):
        raise wire.bad_response("the prediction has no status")
    return status == "succeeded"


def _links(prediction: Mapping[str, Any]) -> tuple[str, HttpRequest | None]:
    urls = prediction.get("urls")
    poll = urls.get("get") if isinstance(urls, dict) else None
    if not isinstance(urls, dict) or not isinstance(poll, str) or not poll:
        raise wire.bad_response("the prediction does not say where to poll")
    cancel = urls.get("cancel")
    return poll, HttpRequest("POST", cancel, Purpose.CANCEL) if isinstance(cancel, str) and cancel else None


def _result(prediction: Mapping[str, Any], asked: int) -> CallResult:
    output = prediction.get("output")
    urls = [output] if isinstance(output, str) else output
    if not isinstance(urls, list) or not urls:
        raise wire.bad_response("it holds no image")
    images = tuple(wire.image_from_url(url) for url in urls)
    missing = asked - len(images)
    warnings = (f"Replicate's safety checker held back {missing} of {asked} images.",) if missing > 0 else ()
    return CallResult(images=images, warnings=warnings)
