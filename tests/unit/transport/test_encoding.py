"""Request bodies as they go over the wire."""

import io
import json
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multipart import MultipartParser, parse_options_header
from whole_body import whole

from service.core.errors import ErrorKind, GatewayError
from service.providers.http import FormBody, FormFile, JsonBody
from service.transport.encoding import encode_body


def parts(encoded):
    """The form as an independent parser reads it: (name, filename, media type, bytes)."""
    media_type, options = parse_options_header(encoded.content_type)
    assert media_type == "multipart/form-data"
    parser = MultipartParser(io.BytesIO(encoded.content), options["boundary"], strict=True)
    return [(part.name, part.filename, part.content_type, part.raw) for part in parser]


def test_json_is_compact_and_says_that_it_is_json():
    encoded = encode_body(JsonBody({"prompt": "café", "n": 2, "sizes": (1, 2)}))
    assert encoded.content == '{"prompt":"café","n":2,"sizes":[1,2]}'.encode()
    assert encoded.content_type == "application/json"


def test_read_only_mappings_have_a_json_form():
    encoded = encode_body(JsonBody(MappingProxyType({"options": MappingProxyType({"a": 1})})))
    assert json.loads(whole(encoded.content)) == {"options": {"a": 1}}


@pytest.mark.parametrize("value", [2**70, "\ud800", b"bytes", object()], ids=["huge", "surrogate", "bytes", "object"])
def test_a_value_without_a_json_form_is_the_caller_s_mistake(value):
    with pytest.raises(GatewayError) as caught:
        encode_body(JsonBody({"x": value}))
    assert (caught.value.kind, caught.value.param) == (ErrorKind.INVALID_REQUEST, "provider_options")
    assert not caught.value.may_have_run


def test_a_form_has_its_fields_first_and_then_its_files():
    form = FormBody(
        (("model", "m"), ("tag", "a"), ("tag", "b")), (FormFile("image[]", "in.png", "image/png", b"\x89P"),)
    )
    assert parts(encode_body(form)) == [
        ("model", None, "text/plain", b"m"),
        ("tag", None, "text/plain", b"a"),
        ("tag", None, "text/plain", b"b"),
        ("image[]", "in.png", "image/png", b"\x89P"),
    ]


def test_a_form_without_files_is_a_multipart_form_all_the_same():
    assert parts(encode_body(FormBody((("a", "b"),)))) == [("a", None, "text/plain", b"b")]


def test_two_forms_have_two_boundaries():
    form = FormBody((("a", "b"),))
    assert encode_body(form).content_type != encode_body(form).content_type


def test_names_cannot_break_out_of_their_header():
    form = FormBody((('a"\r\nX-Injected: 1', "v"),), (FormFile("f", 'x"\r\n\r\nbody', "image/png\r\nX: 1", b""),))
    encoded = encode_body(form)
    assert b"\r\nX" not in encoded.content
    assert encoded.content.count(b"\r\n\r\n") == 2


@given(
    fields=st.lists(st.tuples(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(max_size=60)), max_size=5),
    data=st.binary(max_size=300),
)
def test_whatever_the_values_hold_a_parser_gets_them_back(fields, data):
    fields = [(name, value.encode("utf-8", "replace").decode()) for name, value in fields]
    read = parts(encode_body(FormBody(tuple(fields), (FormFile("image", "i.png", "image/png", data),))))
    assert [(name, raw.decode()) for name, _, _, raw in read[:-1]] == fields
    assert read[-1] == ("image", "i.png", "image/png", data)


def test_a_body_s_bytes_stay_out_of_its_repr():
    assert "secret" not in repr(encode_body(JsonBody("secret")))


def test_a_large_file_is_not_copied_into_one_piece_with_the_rest():
    large = b"x" * 2_000_000
    encoded = encode_body(FormBody((("n", "1"),), (FormFile("image", "image.png", "image/png", large),)))
    assert any(piece is large for piece in encoded.content)
    # It reads as a form of one piece would.
    joined = replace(encoded, content=whole(encoded.content))
    assert parts(joined) == [("n", None, "text/plain", b"1"), ("image", "image.png", "image/png", large)]
