"""Requests in JSON as clients write them, and as nobody should."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.rest.body import read_body, whole_body, written_body
from service.api.rest.json_request import parse_json
from service.api.validation import MOST_TEXT_BYTES, Fields
from service.core.errors import ErrorKind, GatewayError

# Long enough to be cut out of the body, with every character of both alphabets.
LONG = random.Random(1).randbytes(60_000)
SHORT = b"\xfb\xef\xbe\x00png"


def parsed(document: Any = None, *, text: str | bytes | None = None) -> Fields:
    data = json.dumps(document) if text is None else text
    return parse_json(whole_body("application/json", data if isinstance(data, bytes) else data.encode()))


def refusal(document: Any = None, *, text: str | bytes | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        parsed(document, text=text)
    return caught.value


def test_all_fields_are_read() -> None:
    given = {
        "model": "local/vary", "image": base64.b64encode(SHORT).decode(), "n": 3, "size": "256x256",
        "response_format": "b64_json", "user": "u-1", "prompt": "grün\n§", "strength": 0.25, "seed": 4294967295,
        "output_format": "webp", "quality": "high", "background": "auto", "provider_options": {"fal": {"steps": 4}},
        "fallbacks": ["a/b", {"provider": "c", "model": "d"}, {"model": "e/f"}],
    }  # fmt: skip
    fields = parsed(given)
    assert {name: getattr(fields, name) for name in given if name not in ("image", "fallbacks")} == {
        name: value for name, value in given.items() if name not in ("image", "fallbacks")
    }
    assert (fields.image, fields.fallbacks, fields.warnings) == (SHORT, ["a/b", "c/d", "e/f"], [])


@pytest.mark.parametrize("data", [SHORT, LONG])
@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,", "DATA:;base64,"])
@pytest.mark.parametrize("alphabet", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("written", ["plain", "lines", "unpadded", "escaped"])
def test_an_image_is_read_however_it_is_written(data: bytes, prefix: str, alphabet: Any, written: str) -> None:
    text = alphabet(data).decode()
    match written:
        case "lines":
            text = "\r\n".join(text[start : start + 76] for start in range(0, len(text), 76)) + "\n"
        case "unpadded":
            text = text.rstrip("=")
    document = json.dumps({"n": 2, "image": prefix + text, "user": "after it"})
    if written == "escaped":
        document = document.replace("/", "\\/")
    fields = parsed(text=document)
    assert (fields.image, fields.n, fields.user) == (data, 2, "after it")


def test_null_and_empty_text_mean_absent() -> None:
    fields = parsed({"n": None, "seed": "", "size": "", "fallbacks": None, "provider_options": None, "strength": ""})
    assert fields == Fields(fallbacks=[], warnings=[])


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("n", "3", "without quotes, not the text '3'"),
        ("n", 2.0, "a whole number"),
        ("n", True, "not true"),
        ("n", [1], "not a list"),
        ("seed", "x", "a whole number from 0"),
        ("strength", "0.5", "without quotes"),
        ("strength", False, "not false"),
        ("image", ["QUJD"], "as text, not a list; of several images only one"),
        ("image", {"b64": "QUJD"}, "as text, not an object"),
        ("image", "https://example.org/a.png", "give it as image_url"),
        ("image", "a.png", "base64"),
        ("image", "data:image/png,abc", "not in base64"),
        ("image_url", {"url": "https://example.org/a.png"}, "the URL itself, as text"),
        ("model", 3, "text, not the number 3"),
        ("size", [1024, 1024], "text, not a list"),
        ("fallbacks", "a/b", "a list such as"),
        ("fallbacks", {"model": "a/b"}, "a list such as"),
        ("provider_options", [], "an object keyed by provider name"),
        ("provider_options", "{}", "an object keyed by provider name"),
    ],
)
def test_an_error_names_the_field_and_what_would_be_right(field: str, value: Any, wanted: str) -> None:
    error = refusal({field: value})
    assert (error.kind, error.code, error.param) == (ErrorKind.INVALID_REQUEST, f"invalid_{field}", field)
    assert wanted in error.message


def test_a_long_text_that_is_no_image_is_refused_where_it_stands() -> None:
    assert refusal({"image": "%" * 50_000}).param == "image"
    assert parsed({"image_url": "data:image/png;base64," + "A" * 50_000}).image_url.endswith("AAA")
    assert parsed({"prompt": "p" * 50_000}).prompt == "p" * 50_000


@pytest.mark.parametrize(
    "text",
    ["", "hello", "[]", '"x"', "null", '{"n": NaN}', "{", '{"n": 1,}', b'{"user": "\xff"}', "[" * 100_000,
     '{"image": "' + "A" * 90_000],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(text: str | bytes) -> None:
    assert refusal(text=text).code == "malformed_request"


def test_a_field_given_twice_is_refused() -> None:
    assert refusal(text='{"n": 1, "user": "x", "n": 2}').code == "duplicate_field"
    assert refusal({"image_url": "https://a.test", "imageUrl": "https://b.test"}).param == "image_url"
    # Elsewhere the same name is no second field.
    assert parsed(text='{"n": 1, "user": "n", "provider_options": {"a": {"n": 2}}}').n == 1


def test_unknown_fields_are_told_with_the_nearest_name() -> None:
    assert parsed({"siz": "256x256", "fallback": "a/b", "zzz": 1}).warnings == [
        "Unknown fields were ignored: 'siz' (did you mean size?), 'fallback' (did you mean fallbacks?), 'zzz'."
    ]
    assert len(parsed({f"\x00{number}" * 9: 1 for number in range(5000)}).warnings[0]) < 1500


@pytest.mark.parametrize(
    "document",
    [
        b'{"fallbacks": [' + b'"",' * 13_000_000 + b'""]}',
        b'{"provider_options": {"a": {' + b'"a":{},' * 5_000_000 + b'"b":{}}}}',
        b'{"image": "' + b"A" * 20_000_000 + b'", "prompt": "' + b"A" * 19_000_000 + b'"}',
        b"[" * 40_000_000,
        b'{"image": "' + b"\\" * 40_000_000,
    ],
    ids=["fallbacks", "options", "two images", "brackets", "backslashes"],
)
def test_too_much_beside_the_image_is_refused_before_it_is_parsed(
    document: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(text: bytes) -> Any:
        assert len(text) < 2 * MOST_TEXT_BYTES
        return loads(text)

    loads = orjson.loads
    monkeypatch.setattr("service.api.rest.json_request.orjson.loads", parse)
    assert refusal(text=document).kind in (ErrorKind.REQUEST_TOO_LARGE, ErrorKind.INVALID_REQUEST)


_SCALARS = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
_NAMES = st.sampled_from(["n", "image", "fallbacks", "model", "provider_options", "x"])


@given(st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_NAMES, inner), max_leaves=10))
def test_any_json_is_parsed_or_refused(document: Any) -> None:
    error = _refused(lambda: parsed(text=json.dumps(document)))
    if error is not None:
        assert error.kind in (ErrorKind.INVALID_REQUEST, ErrorKind.REQUEST_TOO_LARGE)
        assert len(error.message) < 600


@given(st.binary(max_size=300))
def test_any_bytes_are_read_as_a_body_or_refused(raw: bytes) -> None:
    error = _refused(lambda: read_body(raw))
    if error is None:
        body = read_body(raw)
        assert 0 <= body.start <= body.end <= len(raw)
    else:
        assert error.code == "malformed_request"


@given(st.text(max_size=40), st.lists(st.binary(max_size=300), max_size=4))
def test_a_written_body_reads_back(content_type: str, pieces: list[bytes]) -> None:
    body = read_body(written_body(content_type, pieces))
    assert (body.content_type, bytes(body.view)) == (content_type, b"".join(pieces))


def _refused(work: Callable[[], object]) -> GatewayError | None:
    try:
        work()
    except GatewayError as error:
        return error
    return None
