"""The common parts of the wire formats: reading JSON and retry hints, and building the usual errors. Pure."""

from __future__ import annotations

import binascii
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
import pybase64

from service.core.calls import CallResult, ProducedImage
from service.core.errors import ErrorKind, GatewayError
from service.core.values import EncodedImage, Size
from service.providers.http import HttpResponse

_LONGEST_EXCERPT = 300
_LONGEST_READ = 10_000
_URL_ALPHABET = str.maketrans("-_", "+/")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_LARGEST_NUMBER = 1e15
_LARGEST_SEED = 2**53
_SECRET_LIKE = re.compile(
    r"""(?ix)
    \b(?:sk-|r8_|fal-|xai-|AIza)[\w\-.:*]{6,}(?<!\.)           # how some vendors' keys begin
    | (?<=\bbearer\ )[\w\-.:*~+/=]{12,}                     # an authorization header
    | (?<=\bkey\ )(?=[\w\-.:]*\d)[\w\-.:]{16,}
    | (?:(?<=key:\ )|(?<=token:\ )|(?<=provided:\ ))[^\s,;]+(?<!\.)  # "Incorrect API key provided: …"
    """
)


def data_url(image: EncodedImage) -> str:
    """The image as an RFC 2397 data URL."""
    return f"data:{image.format.media_type};base64,{base64_text(image.data)}"


def base64_text(data: bytes) -> str:
    """Standard base64 without line breaks."""
    return pybase64.b64encode_as_string(data)


def image_from_base64(text: object, *, revised_prompt: object = "") -> ProducedImage:
    """The image behind a base64 string, with or without a data-URL prefix.

    Raises:
        GatewayError: BAD_RESPONSE when it is no base64 text or empty.
    """
    if not isinstance(text, str):
        raise bad_response("an image is not a base64 string")
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        data = pybase64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        data = _lenient_base64(encoded)
    if not data:
        raise bad_response("an image is empty")
    return ProducedImage(data=data, revised_prompt=text_or_empty(revised_prompt))


def _lenient_base64(text: str) -> bytes:
    """Base64 with line breaks, in the URL alphabet or without padding, as some servers write it."""
    compact = "".join(text.split()).translate(_URL_ALPHABET).rstrip("=")
    try:
        return pybase64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise bad_response("an image is not valid base64") from None


def seeds(*values: object) -> tuple[int, ...]:
    """The seeds that a provider reports, in order; what is no whole number from 0 is left out."""
    counts = (count(value, -1, most=_LARGEST_SEED) for value in values)
    return tuple(seed for seed in counts if seed >= 0)


def count(value: object, otherwise: int = 0, *, most: int = 2**31 - 1) -> int:
    """A whole number from 0, also where it is written as ``10.0`` or ``"10"``; ``otherwise`` for anything else."""
    number = _number(value)
    if number is None or not 0 <= number <= most or number != int(number):
        return otherwise
    return int(number)


def quality_level(quality: str) -> str:
    """A quality in today's words: ``hd`` and ``standard`` are those of models that are gone."""
    return {"hd": "high", "standard": "medium"}.get(quality, quality)


def text_or_empty(value: object) -> str:
    """A text of a provider's, or empty for anything else."""
    return value if isinstance(value, str) else ""


def json_object(response: HttpResponse) -> Mapping[str, Any]:
    """The body as a JSON object.

    Raises:
        GatewayError: BAD_RESPONSE when it is anything else.
    """
    try:
        value = _parsed(response.body)
    except (ValueError, RecursionError):
        raise bad_response("the answer is not JSON") from None
    if not isinstance(value, dict):
        raise bad_response("the answer is not a JSON object")
    return value


def lenient_json(response: HttpResponse) -> Any:
    """The body as JSON, or None when it is not: for error bodies, which come in any shape."""
    try:
        return _parsed(response.body)
    except (ValueError, RecursionError):
        return None


def _parsed(body: bytes) -> Any:
    """JSON in which no text holds half a surrogate pair: a lone ``\\ud800`` is valid there and nowhere further on."""
    try:
        return orjson.loads(body)
    except ValueError:
        # It is strict: byte order marks, NaN and lone surrogates are read below, or what is no JSON is refused.
        pass
    # Decoded here, since json.loads on bytes lets surrogates pass.
    value = json.loads(body.decode("utf-8-sig"))
    if _SURROGATE_ESCAPE.search(body):
        value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return value


def bad_response(why: str) -> GatewayError:
    """A BAD_RESPONSE error; ``why`` completes the sentence 'The provider's answer cannot be used: …'."""
    return GatewayError(ErrorKind.BAD_RESPONSE, f"The provider's answer cannot be used: {why}.")


def with_cost(parse: Callable[[], CallResult], cost_usd: float | None) -> CallResult:
    """The result with what the provider says that it cost; so does the failure when there is none to be had."""
    try:
        return replace(parse(), cost_usd=cost_usd)
    except GatewayError as failure:
        raise failure.replaced(cost_usd=cost_usd) from None


def rejected(why: str) -> GatewayError:
    """A CONTENT_REJECTED error with the provider's own reason."""
    return GatewayError(ErrorKind.CONTENT_REJECTED, f"The provider refused the content: {excerpt(why)}")


def excerpt(text: str) -> str:
    """At most 300 characters of a provider's text, on one line, with anything that looks like a key masked.

    Providers echo the key they refuse ("Incorrect API key provided: sk-…").
    """
    line = _SECRET_LIKE.sub("***", " ".join(text[:_LONGEST_READ].split()))
    return line if len(line) <= _LONGEST_EXCERPT else line[: _LONGEST_EXCERPT - 1] + "…"


# Statuses that mean the same at every provider; a translator deals with its own exceptions first.
_KIND_OF_STATUS: Mapping[int, ErrorKind] = {
    400: ErrorKind.UNSUPPORTED,
    401: ErrorKind.UPSTREAM_AUTH,
    402: ErrorKind.UPSTREAM_AUTH,
    403: ErrorKind.UPSTREAM_AUTH,
    404: ErrorKind.MODEL_GONE,
    408: ErrorKind.TIMEOUT,
    410: ErrorKind.MODEL_GONE,
    413: ErrorKind.UNSUPPORTED,
    415: ErrorKind.UNSUPPORTED,
    422: ErrorKind.UNSUPPORTED,
    429: ErrorKind.RATE_LIMITED,
    504: ErrorKind.TIMEOUT,
}


def status_error(response: HttpResponse, message: str, *, kind: ErrorKind | None = None) -> GatewayError:
    """The error for a response outside 2xx.

    Args:
        message: The provider's own words, or empty.
        kind: Overrides what the status alone would say.
    """
    if kind is None:
        kind = _KIND_OF_STATUS.get(
            response.status, ErrorKind.UNAVAILABLE if response.status >= 500 else ErrorKind.BAD_RESPONSE
        )
    said = excerpt(message)
    return GatewayError(
        kind,
        f"The provider answered {response.status}" + (f": {said}" if said else "."),
        retry_after_s=retry_after(response),
        upstream_status=response.status,
        # A refused request did not run; a 5xx or a gateway's time-out may have.
        may_have_run=response.status >= 500 or response.status == 408,
    )


def error_with_message(response: HttpResponse, *, refusal: re.Pattern[str]) -> GatewayError:
    """The meaning of an error whose body is an object with a ``message``.

    Args:
        refusal: Found in the messages of a 400 or 422 that refuses the content.
    """
    body = lenient_json(response)
    said = text_or_empty(body.get("message")) if isinstance(body, Mapping) else ""
    kind = ErrorKind.CONTENT_REJECTED if response.status in (400, 422) and refusal.search(said) else None
    return status_error(response, said, kind=kind)


def retry_after(response: HttpResponse) -> float | None:
    """Seconds to wait before trying again, by whichever hint the response carries.

    Read in this order: ``retry-after-ms``; ``retry-after`` in seconds or as an HTTP date (relative to the
    response's own ``date`` header, so that no clock is needed); ``ratelimit-reset`` or ``x-ratelimit-reset`` in
    seconds; google.rpc.RetryInfo in a JSON body; ``retry_after`` in a JSON body; "resets in ~30s" in its text.
    Negative or absurd (over a day) hints count as none.
    """
    for hint in (_header_hint(response.headers), _body_hint(response)):
        if hint is not None and 0 <= hint <= 86_400:
            return hint
    return None


def _header_hint(headers: Mapping[str, str]) -> float | None:
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    if text is not None:
        seconds = _number(text)
        return seconds if seconds is not None else _seconds_until(text, headers.get("date"))
    for name in ("ratelimit-reset", "x-ratelimit-reset"):
        seconds = _number(headers.get(name))
        if seconds is not None:
            return seconds
    return None


def _body_hint(response: HttpResponse) -> float | None:
    body = lenient_json(response)
    if not isinstance(body, dict):
        return None
    seconds = _number(body.get("retry_after"))
    if seconds is not None:
        return seconds
    error = body.get("error")
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith("google.rpc.RetryInfo"):
            return _number(str(detail.get("retryDelay", "")).removesuffix("s"))
    text = body.get("detail")
    found = re.search(r"resets? in ~?(\d+(?:\.\d+)?)\s*s", text) if isinstance(text, str) else None
    return float(found.group(1)) if found else None


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        # Compared before it is converted: JSON may hold whole numbers that no float can. NaN is in no range.
        return float(value) if -_LARGEST_NUMBER <= value <= _LARGEST_NUMBER else None
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,12}(\.\d{1,9})?\s*", value):
        return float(value)
    return None


def _seconds_until(http_date: str, now: str | None) -> float | None:
    try:
        then = parsedate_to_datetime(http_date)
        start = parsedate_to_datetime(now or "")
    except (ValueError, TypeError):
        return None
    return (_aware(then) - _aware(start)).total_seconds()


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def nearest_ratio(size: Size, ratios: Sequence[str]) -> str:
    """The one of ``ratios``, written ``16:9``, whose shape is closest to that of ``size`` (log scale)."""

    def distance(ratio: str) -> float:
        width, _, height = ratio.partition(":")
        return abs(math.log(size.aspect * float(height) / float(width)))

    return min(ratios, key=distance)


def image_from_url(value: object) -> ProducedImage:
    """The image that a result URL leads to; a data URL is decoded at once.

    Raises:
        GatewayError: BAD_RESPONSE when it is no http(s) or data URL.
    """
    if isinstance(value, str) and value.startswith("data:"):
        return image_from_base64(value)
    if not isinstance(value, str) or not value.startswith(("https://", "http://")):
        raise bad_response("an image has no URL")
    return ProducedImage(url=value)


_PATH_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")


def model_path(model: str, *, segments: range = range(1, 2)) -> str:
    """A model's name as part of a URL's path, such as ``owner/name``.

    Callers may name models that no catalog lists, so a name must not be able to lead anywhere else.

    Args:
        segments: How many segments it may have.

    Raises:
        GatewayError: MODEL_GONE for a name that cannot be a model's.
    """
    parts = model.split("/")
    if len(parts) not in segments or not all(_PATH_SEGMENT.fullmatch(part) for part in parts):
        raise unknown_model(model)
    return model


def unknown_model(model: str) -> GatewayError:
    """A MODEL_GONE error for a name that cannot be that of a model, raised before anything is sent."""
    return GatewayError(
        ErrorKind.MODEL_GONE, f"The provider cannot have a model named {excerpt(model)!r}.", may_have_run=False
    )


def amount(value: object) -> float | None:
    """A number that is not negative, such as a cost, from JSON or an option's text; None for anything else."""
    number = _number(value)
    return number if number is not None and number >= 0 else None


def detail_text(detail: object) -> str:
    """FastAPI's ``detail`` for people: a text, or a list of objects with ``loc`` and ``msg``."""
    if isinstance(detail, str):
        return detail
    problems = [problem for problem in detail if isinstance(problem, dict)] if isinstance(detail, list) else []
    return "; ".join(_problem_text(problem) for problem in problems)


def _problem_text(problem: Mapping[str, Any]) -> str:
    place = problem.get("loc")
    where = ".".join(str(part) for part in place) if isinstance(place, list) else ""
    return f"{where}: {problem.get('msg', '')}" if where else str(problem.get("msg", ""))


def poll_delays(first_s: float = 0.5, longest_s: float = 4.0, growth: float = 1.4) -> Iterator[float]:
    """Seconds to wait before each poll, without end: quick at first, since most images take seconds."""
    delay = first_s
    while True:
        yield delay
        delay = min(delay * growth, longest_s)
