"""Every row of the error table that the gateway can reach by itself, through the real Envoy."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import httpx
import pytest
from running_gateway import RunningGateway

VARIATIONS = "/v1/images/variations"


def post(
    client: httpx.Client, image: bytes | None, fields: dict[str, Any] | None = None, **kwargs: Any
) -> httpx.Response:
    files = {"image": ("photo", image)} if image is not None else {"other": ("x", b"x")}
    return client.post(VARIATIONS, files=files, data=fields or {}, **kwargs)


def assert_error(answer: httpx.Response, status: int, kind: str, code: str, param: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert (error["type"], error["code"], error["param"]) == (kind, code, param)
    assert len(error["message"]) > 10
    # The seams do not show.
    for header in ("x-error-envelope", "x-http-status", "grpc-status", "grpc-message"):
        assert header not in answer.headers


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("n", value) for value in ("0", "11", "-1", "10abc", "1e1", "NaN", " 3 ", "2.0", "٣", "1" * 400)),
        *(("seed", value) for value in ("-1", "4294967296", "x", "1.5")),
        *(("strength", value) for value in ("-0.1", "1.01", "nan", "inf", "half", "1e-1")),
        *(("size", value) for value in ("3x3", "1024", "1024X1024", "0x0", "big")),
        ("response_format", "base64"),
        ("output_format", "gif"),
        ("fallbacks", ""),
        ("fallbacks", "[1]"),
        ("fallbacks", "[broken"),
        ("fallbacks", '{"provider": "local"}'),
        ("provider_options", "[]"),
        ("provider_options", '{"local": 3}'),
        ("user", "x" * 257),
        ("prompt", "x" * 32_001),
    ],
)
def test_a_bad_field_is_named(client: httpx.Client, small_png: bytes, field: str, value: str) -> None:
    answer = post(client, small_png, {field: value})
    param = "fallbacks[0]" if field == "fallbacks" else field
    assert_error(answer, 400, "invalid_request_error", f"invalid_{field}", param)
    assert field in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"n": "abc"}, "n"),
        ({"n": 2.5}, "n"),
        ({"n": 11, "image": "aGk="}, "n"),
        ({"image": "not base64!"}, "image"),
        ({"image": "aGk=", "strength": "much"}, "strength"),
        ({"image": "aGk=", "provider_options": 3}, "provider_options"),
        ({"image": "aGk=", "fallbacks": "local/vary"}, "fallbacks"),
        ({"n": "3"}, "n"),
        ({"image": ["aGk="]}, "image"),
        ({"image_url": {"url": "https://example.org/a.png"}}, "image_url"),
    ],
)
def test_a_bad_field_in_json_is_named(client: httpx.Client, body: dict[str, Any], field: str) -> None:
    assert_error(client.post(VARIATIONS, json=body), 400, "invalid_request_error", f"invalid_{field}", field)


def test_json_that_is_none_is_a_malformed_request(client: httpx.Client) -> None:
    answer = client.post(VARIATIONS, content=b'{"n": ', headers={"content-type": "application/json"})
    assert_error(answer, 400, "invalid_request_error", "malformed_request")


def test_a_field_given_twice_is_refused(client: httpx.Client, small_png: bytes) -> None:
    answer = post(client, small_png, {"n": ["1", "2"]})
    assert_error(answer, 400, "invalid_request_error", "duplicate_field", "n")


def test_an_image_is_required(client: httpx.Client) -> None:
    assert_error(post(client, None), 400, "invalid_request_error", "missing_image", "image")
    assert_error(client.post(VARIATIONS, json={}), 400, "invalid_request_error", "missing_image", "image")


def png(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_what_is_no_image_is_refused(client: httpx.Client, small_png: bytes) -> None:
    for data in (b"hello", b"", b"%PDF-1.4", b"<svg/>", small_png[:200], small_png[:-20]):
        assert_error(post(client, data), 400, "invalid_request_error", "invalid_image", "image")


def test_a_decompression_bomb_is_refused_unopened(client: httpx.Client) -> None:
    bomb = png(20_000, 20_000, zlib.compress(bytes(20_001) * 10))
    assert len(bomb) < 10_000
    assert_error(post(client, bomb), 400, "invalid_request_error", "invalid_image", "image")


def test_a_body_over_the_limit_is_refused(client: httpx.Client) -> None:
    answer = post(client, bytes(51 * 1024 * 1024))
    assert_error(answer, 413, "invalid_request_error", "request_too_large")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "image/png", None])
def test_another_content_type_is_refused(client: httpx.Client, small_png: bytes, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = client.post(VARIATIONS, content=small_png, headers=headers)
    assert_error(answer, 415, "invalid_request_error", "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x"]
)
def test_a_multipart_body_that_is_none_is_refused(client: httpx.Client, content_type: str) -> None:
    answer = client.post(VARIATIONS, content=b"whatever", headers={"content-type": content_type})
    assert_error(answer, 400, "invalid_request_error", "malformed_multipart")


@pytest.mark.parametrize("model", ["nobody/vary", "local/unknown", "unknown", "/", "local/", "openai/gpt-image-2"])
def test_an_unknown_model_is_not_found(client: httpx.Client, small_png: bytes, model: str) -> None:
    answer = post(client, small_png, {"model": model})
    assert_error(answer, 404, "invalid_request_error", "model_not_found", "model")


def test_an_unknown_model_is_answered_with_those_that_exist(client: httpx.Client, small_png: bytes) -> None:
    message = post(client, small_png, {"model": "nobody/vary"}).json()["error"]["message"]
    assert "local/vary" in message
    assert "dall-e-2" in message


def test_a_fallback_that_does_not_exist_is_named(client: httpx.Client, small_png: bytes) -> None:
    answer = post(client, small_png, {"fallbacks[1][model]": "nobody/x", "fallbacks[0][model]": "local/relight"})
    assert_error(answer, 404, "invalid_request_error", "model_not_found", "fallbacks[1]")


def test_time_that_is_over_is_told(client: httpx.Client, photo: bytes) -> None:
    answer = post(client, photo, {"n": "10", "size": "1024x1024"}, headers={"x-request-timeout-ms": "50"})
    assert_error(answer, 504, "timeout_error", "timeout")


def test_a_time_limit_that_is_none_is_refused(client: httpx.Client, small_png: bytes) -> None:
    answer = post(client, small_png, headers={"x-request-timeout-ms": "soon"})
    assert_error(answer, 400, "invalid_request_error", "invalid_timeout", "x-request-timeout-ms")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.png",
        "https://127.0.0.1/a.png",
        "https://169.254.169.254/latest",
        "file:///etc/passwd",
        "data:text/plain,hello",
    ],
)
def test_a_url_that_must_not_be_fetched_is_refused(client: httpx.Client, url: str) -> None:
    answer = client.post(VARIATIONS, json={"image_url": url})
    assert_error(answer, 400, "invalid_request_error", "invalid_image_url", "image_url")


def test_paths_and_methods_that_do_not_exist(client: httpx.Client) -> None:
    assert_error(client.get("/nothing"), 404, "invalid_request_error", "not_found")
    assert_error(client.get(VARIATIONS), 405, "invalid_request_error", "method_not_allowed")
    assert_error(client.put(VARIATIONS, json={}), 405, "invalid_request_error", "method_not_allowed")


def test_a_stream_that_cannot_begin_has_a_status(client: httpx.Client, small_png: bytes) -> None:
    answer = client.post(f"{VARIATIONS}:stream", files={"image": ("photo", small_png)}, data={"n": "99"})
    assert_error(answer, 400, "invalid_request_error", "invalid_n", "n")


def test_after_all_that_it_still_serves(gateway: RunningGateway, client: httpx.Client, small_png: bytes) -> None:
    assert post(client, small_png, {"size": "256x256"}).status_code == 200
    assert gateway.process.poll() is None
    assert not gateway.log_lines("service.error")
