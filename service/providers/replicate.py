"""Replicate: any of its models as a prediction, waited for in the first request and polled for afterwards.

The envelope and its errors are recorded ones; the input's fields follow the models' schemas. That flagged images
are dropped in silence, and what the error says when all of them were, is how the models' public source does it.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from datetime import datetime
from typing import Any

from service.catalog.profile import Profile
from service.core.calls import CallResult, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import EncodedImage, ImageFormat
from service.providers import facts, options, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import FormBody, FormFile, HttpRequest, HttpResponse, JsonBody, Purpose, SignableRequest

# An inline source should stay below 256 KB as a data URL; larger ones are uploaded, as the vendor's own client does.
_MOST_INLINE_BYTES = 190_000

_REFUSAL = re.compile(r"(?i)\bnsfw\b|flagged as sensitive|safety (checker|filter|system)|content policy")


class ReplicatePredictions:
    """Models named ``owner/name``, or ``owner/name:version`` for one fixed version, with the inputs that their
    profiles say.

    Options of the endpoint: ``wait_s``, from 0 to 60, is how long the first request waits (``Prefer: wait``). With
    0 there is something to cancel at once; with more, most calls need no second request.
    """

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        """One call. A source too large to be sent inline is uploaded to Replicate's files first, never shrunk."""
        _path_of(call.model)
        facts.require_image_field(call, profile, endpoint)
        fields = facts.fields(call, profile, "")
        if profile.size_field == "aspect_ratio" and profile.auto_follows_input and call.size is None:
            fields["aspect_ratio"] = "match_input_image"
        fields["output_format"] = _format_name(call.output_format)
        # Before the upload, so that an option that is refused has cost nothing.
        inputs = dict(options.json_body(fields, call.options).value)
        name, is_list = profile.image_field.removesuffix("[]"), profile.image_field.endswith("[]")
        if len(call.image.data) <= _MOST_INLINE_BYTES:
            image = wire.data_url(call.image)
        else:
            image = yield from _uploaded(call.image, endpoint)
        inputs[name] = [image] if is_list else image
        prediction = wire.json_object((yield _submission(call, inputs, endpoint)))
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


def _path_of(model: str) -> str:
    """The path for predictions of a model, below the base URL."""
    name, colon, version = model.partition(":")
    path = wire.model_path(name, segments=range(2, 3))
    if colon:
        wire.model_path(version)
        return "predictions"
    return f"models/{path}/predictions"


def _uploaded(image: EncodedImage, endpoint: Endpoint) -> Generator[HttpRequest, HttpResponse, str]:
    """The URL of a file at Replicate with the image in it, which is deleted there by itself."""
    file = FormFile("content", f"image.{image.format.value}", image.format.media_type, image.data)
    answer = wire.json_object((yield HttpRequest("POST", f"{endpoint.base_url}/files", body=FormBody((), (file,)))))
    urls = answer.get("urls")
    url = urls.get("get") if isinstance(urls, Mapping) else None
    if not isinstance(url, str) or not url:
        raise wire.bad_response("the uploaded file has no URL")
    return url


def _submission(call: ProviderCall, fields: Mapping[str, Any], endpoint: Endpoint) -> HttpRequest:
    body: dict[str, Any] = {"input": dict(fields)}
    if ":" in call.model:
        body["version"] = call.model.partition(":")[2]
    wait = endpoint.options.get("wait_s", "60")
    if not re.fullmatch(r"[0-9]|[1-5][0-9]|60", wait):
        raise GatewayError(ErrorKind.INTERNAL, "The provider's option wait_s must be 0 to 60 seconds.")
    headers = {} if wait == "0" else {"prefer": f"wait={wait}"}
    return HttpRequest("POST", f"{endpoint.base_url}/{_path_of(call.model)}", headers=headers, body=JsonBody(body))


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
    # Models log it when they drop a flagged image. Without such a line, the model may just have made fewer images.
    logs = prediction.get("logs")
    flagged = isinstance(logs, str) and _REFUSAL.search(logs)
    warnings: tuple[str, ...] = ()
    if missing > 0:
        why = "Replicate's safety checker held back" if flagged else "The model did not make"
        warnings = (f"{why} {missing} of {asked} images.",)
    return CallResult(images=images, warnings=warnings)
