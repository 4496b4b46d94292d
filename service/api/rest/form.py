"""Requests in multipart/form-data, in every shape that clients give it."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from service.api.rest.body import Body
from service.api.rest.field_names import NUMBER_NAMES, TEXT_NAMES, unknown_fields
from service.api.rest.multipart import Part, parts_of
from service.api.validation import MOST_FALLBACKS, MOST_TEXT_BYTES, Fields, fallback_name, too_much_text
from service.core.errors import invalid

_IMAGE_NAME = re.compile(r"image(\[[0-9]{0,3}\])?", re.ASCII)
_SINGLE_NAMES = TEXT_NAMES | NUMBER_NAMES | {"provider_options"}
# The encodings of text that browsers know. Python has others, some of which take long over short texts.
_CHARSET: Final = re.compile(
    r"ascii|utf-(8|16)(-[bl]e)?|iso8859-[0-9]{1,2}|cp(125[0-8]|874|866|932|949|950)|koi8-[ru]|gbk|gb2312|gb18030|big5|"
    r"euc_jp|euc_kr|shift_jis"
)
_LIST_NAMES = frozenset({"fallbacks", "fallbacks[]"})
_INDEXED_FALLBACK = re.compile(r"fallbacks\[([0-9]{0,3})\](?:\[(\w{1,64})\])?", re.ASCII)
# A name that starts like this was meant to be one of these. They change what is done, so it is not ignored.
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

    images: list[Part] = field(default_factory=list)
    single: dict[str, str] = field(default_factory=dict)
    fallback_texts: list[str] = field(default_factory=list)
    fallback_columns: dict[str, list[str]] = field(default_factory=dict)
    fallback_rows: dict[int, dict[str, str]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    text_bytes: int = 0


def parse_form(body: Body) -> Fields:
    """The fields of a multipart body.

    Args:
        body: With the whole header value, boundary included; every byte of it may be hostile. What is not the image may
            be ``MOST_TEXT_BYTES`` long.

    Raises:
        GatewayError: UNSUPPORTED_MEDIA_TYPE when it is no multipart/form-data, INVALID_REQUEST when it is
            malformed or a field is, naming the field; REQUEST_TOO_LARGE when there is too much beside the image.
    """
    collected = _Collected()
    for part in parts_of(body):
        _collect(collected, part, body)
    warnings = []
    if len(collected.images) > 1:
        warnings.append(f"{len(collected.images)} images were given; the first was used and the others were ignored.")
    warnings += unknown_fields(collected.unknown)
    single = collected.single
    return Fields(
        **{name: single[name] for name in TEXT_NAMES if name in single},
        image=_image(collected.images[0], body) if collected.images else b"",
        image_given=bool(collected.images),
        n=_number("n", single.get("n"), _WHOLE_NUMBER, int, "a whole number from 1 to 10"),
        seed=_number("seed", single.get("seed"), _WHOLE_NUMBER, int, "a whole number from 0 to 4294967295"),
        output_compression=_number(
            "output_compression", single.get("output_compression"), _WHOLE_NUMBER, int, "a whole number from 0 to 100"
        ),
        strength=_number("strength", single.get("strength"), _DECIMAL_NUMBER, float, "a number from 0 to 1"),
        fallbacks=list(_fallbacks(collected)),
        provider_options=_provider_options(single.get("provider_options"), collected.options),
        warnings=warnings,
        unknown_names=tuple(collected.unknown[:MOST_FALLBACKS]),
    )


def _image(part: Part, body: Body) -> bytes:
    data = body.raw[part.start : part.end]
    if not part.is_file and data:
        _refuse_text(data)
    return data


def _refuse_text(data: bytes) -> None:
    """Says what to do where the field holds text instead of a file."""
    start = data[:100].decode("latin-1")
    if not start.isprintable() or not start.isascii():
        return
    if re.match(r"(https?://|data:)", start, re.IGNORECASE):
        raise invalid("image", "image holds a URL, not a file: give the URL as image_url.")
    if len(data) > len(start) and re.fullmatch(r"[A-Za-z0-9+/_=-]+", start):
        raise invalid(
            "image",
            "image holds base64 text, not a file: give it as image_url, as data:image/png;base64,…, or send JSON.",
        )
    raise invalid(
        "image", f"image holds the text {start[:60]!r}, not a file: with curl, write -F image=@path, with the @."
    )


def _collect(collected: _Collected, part: Part, body: Body) -> None:
    name = part.name
    if _IMAGE_NAME.fullmatch(name):
        collected.images.append(part)
        return
    if name in _SINGLE_NAMES:
        if name in collected.single:
            raise invalid(name, f"{name} may be given only once.", code="duplicate_field")
        collected.single[name] = _decoded(collected, name, part, body)
    elif name in _LIST_NAMES:
        collected.fallback_texts.append(_decoded(collected, name, part, body))
    elif indexed := _INDEXED_FALLBACK.fullmatch(name):
        _collect_fallback(collected, name, indexed.group(1), indexed.group(2), _decoded(collected, name, part, body))
    elif path := _OPTION_PATH.fullmatch(name):
        option = _decoded(collected, "provider_options", part, body)
        _collect_option(collected.options, name, path.group(1)[1:-1].split("]["), option)
    elif structured := _STRUCTURED_NAME.match(name):
        param = structured.group(1)
        raise invalid(param, f"The field name {name[:80]!r} cannot be understood: {_STRUCTURED_FORMS[param]}.")
    else:
        collected.unknown.append(name)


def _decoded(collected: _Collected, name: str, part: Part, body: Body) -> str:
    if name != "image_url":
        collected.text_bytes += part.end - part.start
        if collected.text_bytes > MOST_TEXT_BYTES:
            raise too_much_text()
    data = body.raw[part.start : part.end]
    charset = "utf-8"
    if part.charset:
        try:
            charset = codecs.lookup(part.charset[:40]).name
        except (LookupError, ValueError):
            charset = ""
        if not _CHARSET.fullmatch(charset):
            raise invalid(
                name,
                f"{name} is declared to be in {part.charset[:40]!r}, which is not known here; UTF-8 is.",
                code=_code_of(name),
            )
    try:
        return data.decode(charset)
    except UnicodeError:
        raise invalid(name, f"{name} must be text in {charset.upper()}.", code=_code_of(name)) from None


def _code_of(name: str) -> str:
    return f"invalid_{name.partition('[')[0]}"


def _number(
    name: str, text: str | None, form: re.Pattern[str], convert: Callable[[str], Number], wanted: str
) -> Number | None:
    """A number written plainly: no blanks, signs, exponents, NaN or trailing letters, which int() or float() allow."""
    if not text:
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
    if not text:
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
