"""Requests in JSON: the image is cut out and decoded where it stands, all else is parsed, and errors name the field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from service.api.rest.base64_text import image_from_text
from service.api.rest.body import Body
from service.api.rest.field_names import NUMBER_NAMES, TEXT_NAMES, unknown_fields
from service.api.validation import MOST_FALLBACKS, MOST_TEXT_BYTES, Fields, fallback_name, too_much_text
from service.core.errors import ErrorKind, GatewayError, invalid

# Shorter texts are not worth the search for them.
_LEAST_CUT_BYTES: Final = 16 << 10
# Stands where a long text was; NUL is in no text that a field takes.
_CUT: Final = "\0cut"
_CUT_JSON: Final = b'"\\u0000cut"'
_QUOTE, _BACKSLASH = b'"', ord("\\")
# As protobuf's JSON names fields, too.
_OTHER_NAMES: Final = {
    "imageUrl": "image_url",
    "responseFormat": "response_format",
    "outputFormat": "output_format",
    "providerOptions": "provider_options",
    "fitGround": "fit_ground",
    "outputCompression": "output_compression",
}
_IMAGE_WANTED = "image must be the file in base64 or a data URL, as text"
_WANTED: Final = {
    "n": "a whole number from 1 to 10, without quotes",
    "seed": "a whole number from 0 to 4294967295, without quotes",
    "output_compression": "a whole number from 0 to 100, without quotes",
    "strength": "a number from 0 to 1, without quotes",
    "image_url": 'the URL itself, as text: "image_url": "https://…"',
    "fallbacks": 'a list such as ["openai/gpt-image-2", {"provider": "local", "model": "vary"}]',
    "provider_options": 'an object keyed by provider name, such as {"openai": {"moderation": "low"}}',
}


@dataclass(frozen=True, slots=True)
class _Text:
    """A text within the body: from its opening quote to behind the closing one."""

    start: int
    end: int


def parse_json(body: Body) -> Fields:
    """The fields of a JSON body.

    Args:
        body: Every byte of it may be hostile. What is not the image may be ``MOST_TEXT_BYTES`` long.

    Raises:
        GatewayError: INVALID_REQUEST when it is no JSON object or a field is wrong, naming the field and what would be
            right; REQUEST_TOO_LARGE when there is too much beside the image.
    """
    cut = _longest_text(body)
    rest = bytes(body.view) if cut is None else _without(body, cut)
    fields = _canonical(_object(rest), rest)
    image = fields.pop("image", None)
    return Fields(
        image=_image(image, body, cut),
        image_given=image is not None,
        n=_whole_number(fields, "n"),
        seed=_whole_number(fields, "seed"),
        output_compression=_whole_number(fields, "output_compression"),
        strength=_number(fields, "strength"),
        fallbacks=_fallbacks(fields.pop("fallbacks", None)),
        provider_options=_provider_options(fields.pop("provider_options", None)),
        **{name: _text(name, fields.pop(name), body, cut) for name in TEXT_NAMES if name in fields},
        warnings=unknown_fields(fields),
        unknown_names=tuple(fields)[:MOST_FALLBACKS],
    )


def _longest_text(body: Body) -> _Text | None:
    """The one long text of a body, which is its image; None where no text is long.

    Raises:
        GatewayError: REQUEST_TOO_LARGE where the rest is, found without looking at more of it than is allowed.
    """
    if len(body) <= _LEAST_CUT_BYTES:
        return None
    longest: _Text | None = None
    position, cut_bytes = body.start, 0
    while (opening := body.raw.find(_QUOTE, position, body.end)) >= 0:
        position = _behind_text(body, opening)
        length = position - opening
        if length > max(cut_bytes, _LEAST_CUT_BYTES):
            longest, cut_bytes = _Text(opening, position), length
        if position - body.start - cut_bytes > MOST_TEXT_BYTES:
            break
    if len(body) - cut_bytes > MOST_TEXT_BYTES:
        raise too_much_text()
    return longest


def _behind_text(body: Body, opening: int) -> int:
    """The position behind the closing quote of the text that begins at ``opening``; the body's end if it has none."""
    raw, closing = body.raw, opening
    while (closing := raw.find(_QUOTE, closing + 1, body.end)) >= 0:
        backslash = closing
        while raw[backslash - 1] == _BACKSLASH:
            backslash -= 1
        if (closing - backslash) % 2 == 0:
            return closing + 1
    return body.end


def _without(body: Body, cut: _Text) -> bytes:
    return b"".join([body.raw[body.start : cut.start], _CUT_JSON, body.raw[cut.end : body.end]])


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except ValueError as error:
        # The parser's reason and place; the caller's own text is not repeated.
        raise GatewayError(
            ErrorKind.INVALID_REQUEST, f"The body is not valid JSON: {str(error)[:200]}.", code="malformed_request"
        ) from None
    if not isinstance(value, dict):
        raise GatewayError(
            ErrorKind.INVALID_REQUEST,
            f'The body must be a JSON object such as {{"image_url": "https://…"}}, not {_kind(value)}.',
            code="malformed_request",
        )
    return value


def _canonical(given: Mapping[str, Any], text: bytes) -> dict[str, Any]:
    """The fields by their own names; null and empty text, which mean absent, are left out."""
    if any(text.count(b'"%s"' % name.encode()) > 1 for name in given if len(name) <= 64):
        _refuse_duplicates(text)
    fields: dict[str, Any] = {}
    for name, value in given.items():
        own = _OTHER_NAMES.get(name, name)
        if own in fields:
            raise _twice(own)
        if value is not None and (value != "" or own == "image"):
            fields[own] = value
    return fields


def _refuse_duplicates(text: bytes) -> None:
    """Parsers keep the last of several fields of one name; which one was meant, nobody knows."""

    try:
        # With this hook every object becomes the names in it; the outermost is the result.
        outermost = json.loads(text.decode(), object_pairs_hook=lambda pairs: [name for name, _ in pairs])
    except (ValueError, RecursionError):
        return
    known = TEXT_NAMES | NUMBER_NAMES | {"image", "fallbacks", "provider_options"}
    for name in known:
        if outermost.count(name) > 1:
            raise _twice(name)


def _twice(name: str) -> GatewayError:
    return invalid(name, f"{name} may be given only once.", code="duplicate_field")


def _image(value: Any, body: Body, cut: _Text | None) -> bytes:
    if value is None:
        return b""
    if value == _CUT and cut is not None:
        inner = memoryview(body.raw)[cut.start + 1 : cut.end - 1]
        if body.raw.find(b"\\", cut.start, cut.end) >= 0:
            # Some clients write "\/", or break lines by "\n".
            return image_from_text(_unescaped(body, cut).encode("utf-8", "replace"))
        return image_from_text(inner)
    if not isinstance(value, str):
        hint = "; of several images only one can be varied" if isinstance(value, list) else ""
        raise invalid("image", f"{_IMAGE_WANTED}, not {_kind(value)}{hint}.")
    return image_from_text(value.encode("utf-8", "replace"))


def _unescaped(body: Body, cut: _Text) -> str:
    try:
        return str(orjson.loads(memoryview(body.raw)[cut.start : cut.end]))
    except ValueError as error:
        raise GatewayError(
            ErrorKind.INVALID_REQUEST, f"The body is not valid JSON: {str(error)[:200]}.", code="malformed_request"
        ) from None


def _text(name: str, value: Any, body: Body, cut: _Text | None) -> str:
    if not isinstance(value, str):
        raise invalid(name, f"{name} must be {_WANTED.get(name, 'text')}, not {_kind(value)}.")
    if value == _CUT and cut is not None:
        return _unescaped(body, cut)
    return value


def _whole_number(fields: dict[str, Any], name: str) -> int | None:
    value = fields.pop(name, None)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise _no_number(name, value)


def _number(fields: dict[str, Any], name: str) -> float | None:
    value = fields.pop(name, None)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise _no_number(name, value)


def _no_number(name: str, value: Any) -> GatewayError:
    return invalid(name, f"{name} must be {_WANTED[name]}, not {_kind(value)}.")


def _fallbacks(value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid("fallbacks", f"fallbacks must be {_WANTED['fallbacks']}, not {_kind(value)}.")
    if len(value) > MOST_FALLBACKS:
        raise invalid("fallbacks", f"fallbacks may have at most {MOST_FALLBACKS} entries, not {len(value)}.")
    return [fallback_name(f"fallbacks[{position}]", entry) for position, entry in enumerate(value)]


def _provider_options(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(
            "provider_options", f"provider_options must be {_WANTED['provider_options']}, not {_kind(value)}."
        )
    return value


def _kind(value: Any) -> str:
    """A value as its owner would name it, short enough to repeat."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text {value if len(value) <= 40 else value[:37] + '…'!r}"
        case int() | float():
            return f"the number {value}"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "null"
