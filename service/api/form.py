"""Requests in multipart/form-data, in every shape that clients give it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from multipart import MultipartError, ParserLimitReached, PushMultipartParser, parse_options_header

from service.api.validation import Fields, fallback_name
from service.core.errors import ErrorKind, GatewayError, invalid

MOST_PARTS = 128
LARGEST_TEXT_BYTES = 1 << 20
MOST_HEADER_BYTES = 4096
LONGEST_BOUNDARY = 256

_IMAGE_NAMES = frozenset({"image", "image[]"})
_TEXT_NAMES = frozenset(
    {"model", "image_url", "size", "response_format", "user", "prompt", "output_format", "quality", "background"}
)
_NUMBER_NAMES = frozenset({"n", "seed", "strength"})
_SINGLE_NAMES = _TEXT_NAMES | _NUMBER_NAMES | {"provider_options"}
_LIST_NAMES = frozenset({"fallbacks", "fallbacks[]"})
_INDEXED_FALLBACK = re.compile(r"fallbacks\[([0-9]{0,3})\](?:\[(\w{1,64})\])?", re.ASCII)
# Whatever else starts like this was meant to be one of these, and they change what is done: not to be ignored.
_STRUCTURED_NAME = re.compile(r"(fallbacks|provider_options)[^A-Za-z0-9_]")
_OPTION_PATH = re.compile(r"provider_options((?:\[[^\[\]]{1,128}\]){1,8})")

# Not \d, which takes the digits of every script.
_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_DECIMAL_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,20})?")

_STRUCTURED_FORMS = {
    "fallbacks": "write fallbacks[0][model], fallbacks[][model] or fallbacks[]",
    "provider_options": "write provider_options[openai][moderation], or one field with a JSON object",
}

Number = TypeVar("Number", int, float)


@dataclass(slots=True)
class _Collected:
    """A form's parts by what they are, in the order in which they came."""

    images: list[bytes] = field(default_factory=list, repr=False)
    single: dict[str, str] = field(default_factory=dict)
    fallback_texts: list[str] = field(default_factory=list)
    fallback_columns: dict[str, list[str]] = field(default_factory=dict)
    fallback_rows: dict[int, dict[str, str]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def parse_form(content_type: str, body: bytes) -> Fields:
    """The fields of a multipart body.

    Args:
        content_type: The whole header value, with its boundary.
        body: The body as it came; every byte of it may be hostile.

    Raises:
        GatewayError: UNSUPPORTED_MEDIA_TYPE when it is no multipart/form-data, INVALID_REQUEST when it is
            malformed or a field is, naming the field.
    """
    collected = _Collected()
    for name, data in _parts(_boundary(content_type), body):
        _collect(collected, name, data)
    warnings = []
    if len(collected.images) > 1:
        warnings.append(f"{len(collected.images)} images were given; the first was used and the others were ignored.")
    if collected.unknown:
        names = ", ".join(dict.fromkeys(collected.unknown))
        warnings.append(f"Unknown fields were ignored: {names:.500}.")
    single = collected.single
    return Fields(
        **{name: single[name] for name in _TEXT_NAMES if name in single},
        image=collected.images[0] if collected.images else b"",
        image_given=bool(collected.images),
        n=_number("n", single.get("n"), _WHOLE_NUMBER, int, "a whole number from 1 to 10"),
        seed=_number("seed", single.get("seed"), _WHOLE_NUMBER, int, "a whole number from 0 to 4294967295"),
        strength=_number("strength", single.get("strength"), _DECIMAL_NUMBER, float, "a number from 0 to 1"),
        fallbacks=list(_fallbacks(collected)),
        provider_options=_provider_options(single.get("provider_options"), collected.options),
        warnings=warnings,
    )


def _boundary(content_type: str) -> str:
    media_type, options = parse_options_header(content_type)
    if media_type != "multipart/form-data":
        raise GatewayError(
            ErrorKind.UNSUPPORTED_MEDIA_TYPE,
            f"The content type must be multipart/form-data or application/json, not {media_type[:80]!r}.",
        )
    boundary = options.get("boundary", "")
    if not boundary or len(boundary) > LONGEST_BOUNDARY or not boundary.isascii() or not boundary.isprintable():
        raise _malformed(f"its content type needs a boundary of 1 to {LONGEST_BOUNDARY} printable characters")
    return str(boundary)


def _parts(boundary: str, body: bytes) -> Iterable[tuple[str, bytes]]:
    """Name and bytes of every part."""
    if not body:
        raise _malformed("it is empty")
    try:
        parser = PushMultipartParser(
            boundary, max_header_size=MOST_HEADER_BYTES, max_segment_count=MOST_PARTS, strict=True
        )
        name, chunks = "", list[bytes]()
        with parser:
            for event in parser.parse(body):
                if event is None:
                    yield name, chunks[0] if len(chunks) == 1 else b"".join(chunks)
                elif isinstance(event, bytes | bytearray):
                    chunks.append(bytes(event))
                else:
                    if event.name is None:
                        raise _malformed("a part has no name")
                    name, chunks = event.name, []
    except ParserLimitReached:
        raise _malformed(
            f"it may have at most {MOST_PARTS} parts, and a part's header lines {MOST_HEADER_BYTES} bytes"
        ) from None
    except (MultipartError, UnicodeError, LookupError) as error:
        # The parser puts what it caught beside its own words.
        raise _malformed(f"{str(error.args[0] if error.args else error)[:200]}") from None


def _malformed(why: str) -> GatewayError:
    return GatewayError(
        ErrorKind.INVALID_REQUEST, f"The multipart body cannot be read: {why}.", code="malformed_multipart"
    )


def _collect(collected: _Collected, name: str, data: bytes) -> None:
    if name in _IMAGE_NAMES:
        collected.images.append(data)
        return
    if name in _SINGLE_NAMES:
        if name in collected.single:
            raise invalid(name, f"{name} may be given only once.", code="duplicate_field")
        collected.single[name] = _decoded(name, data)
    elif name in _LIST_NAMES:
        collected.fallback_texts.append(_decoded(name, data))
    elif indexed := _INDEXED_FALLBACK.fullmatch(name):
        _collect_fallback(collected, name, indexed.group(1), indexed.group(2), _decoded(name, data))
    elif path := _OPTION_PATH.fullmatch(name):
        option = _decoded("provider_options", data)
        _collect_option(collected.options, name, path.group(1)[1:-1].split("]["), option)
    elif structured := _STRUCTURED_NAME.match(name):
        param = structured.group(1)
        raise invalid(param, f"The field name {name[:80]!r} cannot be understood: {_STRUCTURED_FORMS[param]}.")
    else:
        # The name is the caller's own, but it goes into a header-sized place: keep it short and printable.
        collected.unknown.append(repr(name[:64]))


def _decoded(name: str, data: bytes) -> str:
    if len(data) > LARGEST_TEXT_BYTES and name != "image_url":
        raise invalid(name, f"{name} may have at most {LARGEST_TEXT_BYTES} bytes.", code=_code_of(name))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise invalid(name, f"{name} must be text in UTF-8.", code=_code_of(name)) from None


def _code_of(name: str) -> str:
    return f"invalid_{name.partition('[')[0]}"


def _number(
    name: str, text: str | None, form: re.Pattern[str], convert: Callable[[str], Number], wanted: str
) -> Number | None:
    """A number written plainly: no blanks, signs, exponents, NaN or trailing letters, which int() or float() allow."""
    if text is None:
        return None
    if not form.fullmatch(text):
        shown = text if len(text) <= 80 else text[:77] + "…"
        raise invalid(name, f"{name} must be {wanted}, not {shown!r}.")
    return convert(text)


def _collect_fallback(collected: _Collected, name: str, index: str, key: str | None, value: str) -> None:
    if not index:
        # fallbacks[][provider]: the SDKs send all values of one key before those of the next.
        collected.fallback_columns.setdefault(key or "", []).append(value)
        return
    row = collected.fallback_rows.setdefault(int(index), {})
    if (key or "") in row:
        raise invalid("fallbacks", f"{name} may be given only once.", code="duplicate_field")
    row[key or ""] = value


def _fallbacks(collected: _Collected) -> Iterable[str]:
    position = 0
    for text in collected.fallback_texts:
        for entry in _written_fallbacks(f"fallbacks[{position}]", text):
            yield fallback_name(f"fallbacks[{position}]", entry)
            position += 1
    for row in _column_rows(collected.fallback_columns):
        yield fallback_name(f"fallbacks[{position}]", row)
        position += 1
    for index, row in sorted(collected.fallback_rows.items()):
        if "" in row and len(row) > 1:
            raise invalid(
                f"fallbacks[{index}]",
                f"fallbacks[{index}] is given both as text and as an object.",
                code="invalid_fallbacks",
            )
        yield fallback_name(f"fallbacks[{index}]", row.get("", row))


def _written_fallbacks(param: str, text: str) -> list[object]:
    """One field's entries: a JSON array, a JSON object, or plain ``provider/model``."""
    if not text.lstrip().startswith(("[", "{")):
        return [text]
    value = _json(param, text, "invalid_fallbacks")
    return value if isinstance(value, list) else [value]


def _column_rows(columns: Mapping[str, list[str]]) -> Iterable[Mapping[str, str]]:
    """Puts ``fallbacks[][provider]`` and ``fallbacks[][model]`` back together."""
    if not columns:
        return []
    unknown = sorted(set(columns) - {"provider", "model"})
    if unknown:
        raise invalid(
            "fallbacks",
            f"fallbacks[][{unknown[0]:.64}] is unknown: an entry has provider and model.",
            code="invalid_fallbacks",
        )
    providers, models = columns.get("provider", []), columns.get("model", [])
    if not providers:
        return [{"model": model} for model in models]
    if len(providers) != len(models):
        raise invalid(
            "fallbacks",
            f"fallbacks[][provider] is given {len(providers)} times and fallbacks[][model] {len(models)} times, so"
            " which belong together cannot be told: use fallbacks[0][model], or one field with a JSON array.",
            code="invalid_fallbacks",
        )
    return [{"provider": provider, "model": model} for provider, model in zip(providers, models, strict=True)]


def _provider_options(text: str | None, bracketed: Mapping[str, Any]) -> Mapping[str, Any]:
    if text is None:
        return bracketed
    if bracketed:
        raise invalid("provider_options", "provider_options is given both as JSON and in brackets.")
    value = _json("provider_options", text, "invalid_provider_options")
    if not isinstance(value, dict):
        raise invalid("provider_options", "provider_options must be a JSON object keyed by provider name.")
    return value


def _collect_option(options: dict[str, Any], name: str, path: list[str], text: str) -> None:
    """Puts ``provider_options[fal][guidance_scale]`` in its place; JSON scalars keep their type."""
    place = options
    for key in path[:-1]:
        inner = place.setdefault(key, {})
        if not isinstance(inner, dict):
            raise invalid("provider_options", f"{name[:200]!r} is given both as a value and as an object.")
        place = inner
    if path[-1] in place:
        raise invalid("provider_options", f"{name[:200]!r} may be given only once.", code="duplicate_field")
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        value = text
    place[path[-1]] = value if isinstance(value, bool | int | float) else text


def _json(param: str, text: str, code: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise invalid(param, f"{param} is not valid JSON.", code=code) from None


def _no_constant(name: str) -> None:
    """Refuses NaN and Infinity, which JSON does not have."""
    raise ValueError(name)
