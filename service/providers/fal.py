"""fal: any of its models, through its queue (``https://queue.fal.run``) or in one request (``https://fal.run``).

Which of the two it is follows from the base URL alone, and is seen from the answer, so there is no option for it.
The queue is the catalog's default: work waits there without holding a connection that may break after it has been
paid for, it can be cancelled, and fal repeats what its own machines fail at.

Formats follow fal's documentation and its Python client; the fixtures are composed from these, not recorded.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from datetime import datetime
from typing import Any

from service.catalog.profile import Profile
from service.core.calls import CallResult, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.providers import facts, options, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import HttpRequest, HttpResponse, Purpose, SignableRequest

_POLICY_VIOLATION = "content_policy_violation"

# The values of ``error_type`` in a finished queue entry or an error body; the status decides for all others.
_KIND_OF_ERROR_TYPE: Mapping[str, ErrorKind] = {
    _POLICY_VIOLATION: ErrorKind.CONTENT_REJECTED,
    "bad_request": ErrorKind.UNSUPPORTED,
    "generation_timeout": ErrorKind.TIMEOUT,
    "request_timeout": ErrorKind.TIMEOUT,
    "startup_timeout": ErrorKind.TIMEOUT,
}


class FalImages:
    """Any fal model whose profile says which field takes the image; what else it takes are facts of the profile too."""

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        """One call, several images. ``strength``, where a model has it, is fal's own from 0 to 1."""
        path = wire.model_path(call.model, segments=range(2, 8))
        facts.require_image_field(call, profile, endpoint)
        fields = facts.fields(call, profile, wire.data_url(call.image))
        fields["output_format"] = call.output_format.value if call.output_format else None
        response = yield HttpRequest(
            "POST", f"{endpoint.base_url}/{path}", body=options.json_body(fields, call.options)
        )
        answer = wire.json_object(response)
        if "images" not in answer and "image" not in answer:
            answer = yield from _wait(answer)
        return _result(answer, call.n)

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return {"authorization": f"Key {credential.secret}"}

    def failure(self, response: HttpResponse) -> GatewayError:
        body = wire.lenient_json(response)
        detail = body.get("detail") if isinstance(body, dict) else None
        error_type = body.get("error_type") if isinstance(body, dict) else None
        if not isinstance(error_type, str):
            error_type = response.headers.get("x-fal-error-type", "")
        if _names_policy_violation(detail):
            error_type = _POLICY_VIOLATION
        said = wire.detail_text(detail) or error_type
        kind = _KIND_OF_ERROR_TYPE.get(error_type)
        failure = wire.status_error(response, said, kind=kind)
        if failure.kind is ErrorKind.UNAVAILABLE and error_type:
            # fal bills no request that ends in a 5xx of its own; one without a type may come from a proxy.
            return failure.replaced(may_have_run=False)
        return failure


def _names_policy_violation(detail: object) -> bool:
    problems = detail if isinstance(detail, list) else []
    return any(isinstance(problem, dict) and problem.get("type") == _POLICY_VIOLATION for problem in problems)


def _wait(entry: Mapping[str, Any]) -> Generator[HttpRequest, HttpResponse, Mapping[str, Any]]:
    """From a fresh queue entry to the finished answer, by the URLs that the entry names."""
    status_url = _url(entry, "status_url")
    response_url = _url(entry, "response_url")
    cancel_url = entry.get("cancel_url")
    cancel = HttpRequest("PUT", cancel_url, Purpose.CANCEL) if isinstance(cancel_url, str) and cancel_url else None
    for delay in wire.poll_delays():
        status = wire.json_object(
            (yield HttpRequest("GET", status_url, Purpose.POLL, delay_s=delay, cancel=cancel)),
        )
        match status.get("status"):
            case "IN_QUEUE" | "IN_PROGRESS":
                continue
            case "COMPLETED":
                break
            case other:
                raise wire.bad_response(f"its queue says {wire.excerpt(str(other))!r}")
    _raise_for_error(status)
    return wire.json_object((yield HttpRequest("GET", response_url, Purpose.POLL)))


def _raise_for_error(status: Mapping[str, Any]) -> None:
    """A finished entry may have failed. Without an ``error``, asking for the answer tells (a 422, say)."""
    error, error_type = status.get("error"), status.get("error_type")
    if not error and not error_type:
        return
    said = wire.excerpt(" ".join(part for part in (error, error_type) if isinstance(part, str)))
    kind = _KIND_OF_ERROR_TYPE.get(error_type, ErrorKind.UNAVAILABLE) if isinstance(error_type, str) else None
    if kind is ErrorKind.CONTENT_REJECTED:
        raise wire.rejected(said)
    raise GatewayError(kind or ErrorKind.UNAVAILABLE, f"The provider could not make the image: {said}")


def _url(entry: Mapping[str, Any], name: str) -> str:
    url = entry.get(name)
    if not isinstance(url, str) or not url:
        raise wire.bad_response(f"its queue entry has no {name}")
    return url


def _result(answer: Mapping[str, Any], asked: int) -> CallResult:
    """Leaves out images that the safety checker flagged: fal blackens them and calls it a success."""
    entries = answer.get("images", [answer.get("image")])
    if not isinstance(entries, list) or not entries:
        raise wire.bad_response("it holds no image")
    flags = answer.get("has_nsfw_concepts")
    flagged = [flag is True for flag in flags] if isinstance(flags, list) else []
    flagged += [False] * (len(entries) - len(flagged))
    images = tuple(
        wire.image_from_url(entry.get("url") if isinstance(entry, dict) else None)
        for entry, held_back in zip(entries, flagged, strict=False)
        if not held_back
    )
    if not images:
        raise wire.rejected("the safety checker flagged every image.")
    missing = asked - len(images)
    warnings = (f"fal's safety checker held back {missing} of {asked} images.",) if any(flagged) and missing > 0 else ()
    return CallResult(images=images, seeds=wire.seeds(answer.get("seed")), warnings=warnings)
