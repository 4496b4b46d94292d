"""Captured exchanges, fit to be shown."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.providers.base import Credential
from service.providers.http import FormBody, FormFile, HttpResponse, JsonBody
from service.transport.capture import captured_request, captured_response

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 325 + b"xyz"
KEY = Credential("main", "sk-very-secret", {"session_token": "token-very-secret", "region": ""})


def response(body):
    return HttpResponse(200, {"authorization": "nope"}, body if isinstance(body, bytes) else json.dumps(body).encode())


def test_a_json_request_is_shown_with_its_images_described():
    body = JsonBody(
        {
            "prompt": "keep it",
            "n": 2,
            "image": base64.b64encode(PNG).decode(),
            "image_url": "data:image/png;base64," + base64.b64encode(PNG).decode(),
        }
    )
    assert captured_request(body, KEY) == {
        "prompt": "keep it",
        "n": 2,
        "image": f"<{len(PNG)} bytes of image/png>",
        "image_url": f"<{len(PNG)} bytes of image/png>",
    }


def test_a_form_is_shown_as_an_object_and_names_that_repeat_as_lists():
    file = FormFile("image[]", "a.webp", "image/webp", PNG)
    form = FormBody((("n", "2"), ("tag", "a"), ("tag", "b"), ("tag", "c")), (file, file))
    assert captured_request(form, KEY) == {
        "n": "2",
        "tag": ["a", "b", "c"],
        "image[]": [f"<{len(PNG)} bytes of image/webp>"] * 2,
    }


def test_a_request_without_a_body_is_nothing():
    assert captured_request(None, KEY) is None


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBP", "image/webp"),
        (b"GIF89a", "image/gif"),
        (b"\x00\x01", "binary data"),
    ],
)
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_described_by_what_it_holds(start, name, encode):
    data = start + b"\xfb\xff" * 200
    assert captured_response(response({"b64_json": encode(data).decode()}), None) == {
        "b64_json": f"<{len(data)} bytes of {name}>"
    }


def test_secrets_are_hidden_wherever_they_turn_up():
    said = {"message": "Incorrect key sk-very-secret", "sk-very-secret": ["Bearer token-very-secret."]}
    shown = json.dumps(captured_response(response(said), KEY))
    assert "very-secret" not in shown
    assert "Incorrect key ***" in shown


def test_the_caller_s_options_may_not_smuggle_out_the_key():
    assert captured_request(JsonBody({"a": ["sk-very-secret"]}), KEY) == {"a": ["***"]}


def test_an_empty_part_of_a_key_hides_nothing():
    assert captured_response(response({"a": "text"}), KEY) == {"a": "text"}


def test_an_answer_that_is_not_json_is_shown_as_text_or_described():
    assert captured_response(response(b"Bad gateway, key sk-very-secret"), KEY) == "Bad gateway, key ***"
    assert captured_response(response(PNG), KEY) == f"<{len(PNG)} bytes of image/png>"


def test_long_text_is_cut_and_says_so():
    shown = captured_response(response({"logs": "step done. " * 5000}), None)["logs"]
    assert len(shown) < 11_000
    assert shown.endswith("… <55000 characters>")


def test_a_short_text_that_could_be_base64_is_left():
    assert captured_response(response({"id": "abcDEF123" * 10}), None) == {"id": "abcDEF123" * 10}


def test_deep_nesting_is_cut():
    assert captured_response(response(b"[" * 500 + b"]" * 500), None) is not None
    assert captured_response(response(b"[" * 100_000), None) is not None


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=20,
    )
)
def test_whatever_is_captured_has_a_json_form(value):
    json.dumps(captured_request(JsonBody(value), KEY), allow_nan=False)


@given(body=st.binary(max_size=400))
def test_whatever_comes_back_can_be_captured(body):
    json.dumps(captured_response(response(body), KEY), allow_nan=False)
