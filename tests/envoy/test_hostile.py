"""Requests that nobody means well with: each gets a clear refusal, soon, and nothing of the insides."""

from __future__ import annotations

import base64
import io
import json
import time
from typing import Any

import grpc
import httpx
import pytest
from PIL import Image
from running_gateway import RunningGateway

VARIATIONS = "/v1/images/variations"
# A quadratic search of the texts below takes minutes.
SOON_S = 5.0


@pytest.fixture
def many_scans() -> bytes:
    """A progressive JPEG whose last scan is there a thousand times."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last, end = data.rfind(b"\xff\xda"), len(data) - 2
    return data[:end] + data[last:end] * 1000 + data[end:]


def create(channel: grpc.aio.Channel) -> Any:
    """The unary method, for messages as bytes."""
    return channel.unary_unary("/imagevariations.v1.ImageVariationService/CreateImageVariation")


def post_json(client: httpx.Client, text: str, **headers: str) -> httpx.Response:
    return client.post(VARIATIONS, content=text, headers={"content-type": "application/json", **headers})


def nested(levels: int, innermost: str) -> str:
    """A request with an object in an object, and so on."""
    return '{"provider_options":' + '{"a":' * levels + innermost + "}" * levels + "}"


def error_of(answer: httpx.Response) -> dict[str, Any]:
    assert set(answer.json()) == {"error"}, answer.text[:500]
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert len(error["message"]) > 10
    return error


@pytest.mark.parametrize("levels", [34, 60, 96, 98, 1000, 60_000])
def test_json_nested_too_deep_is_a_bad_request(client: httpx.Client, levels: int) -> None:
    answer = post_json(client, with_image(nested(levels, "1")))
    assert answer.status_code == 400, answer.text[:500]
    # Up to a depth it can be read, and is no options of a provider's.
    assert error_of(answer)["code"] == ("invalid_provider_options" if levels <= 1000 else "malformed_request")


def test_what_cannot_be_read_is_not_searched_for_minutes(client: httpx.Client) -> None:
    key = ": invalid value " * 30_000
    begun = time.monotonic()
    answer = post_json(client, with_image(nested(98, '{"' + key + '":{"b":{}}}')))
    assert time.monotonic() - begun < SOON_S
    assert answer.status_code == 400
    assert error_of(answer)["code"] == "invalid_provider_options"
    assert len(answer.content) < 1000


def with_image(document: str) -> str:
    """The same JSON object with an image besides."""
    return '{"image": "aGk=", ' + document.removeprefix("{")


@pytest.mark.parametrize("field", ["n", "image"])
def test_a_value_of_megabytes_is_not_repeated(client: httpx.Client, field: str) -> None:
    begun = time.monotonic()
    answer = post_json(client, json.dumps({field: ': invalid value " for type x' * 100_000}))
    assert time.monotonic() - begun < SOON_S
    assert answer.status_code == 400
    assert (error_of(answer)["code"], error_of(answer)["param"]) == (f"invalid_{field}", field)
    assert len(answer.content) < 1000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("grpc-timeout", "soon"),
        ("grpc-timeout", "1n"),
        ("grpc-encoding", "gzip"),
        ("grpc-encoding", "none-such"),
        ("trace-bin", "!!!"),
        ("no^grpc|name", "x"),
        ("$name", "x"),
        ("grpc-status-details-bin", "!!!"),
        ("x-envoy-original-path", "/"),
        ("x-error-envelope", "{}"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/images/files/none?expires=1&signature=x"])
def test_headers_that_are_for_grpc_mean_nothing_in_rest(client: httpx.Client, path: str, name: str, value: str) -> None:
    expected = 200 if path == "/v1/models" else 403
    assert client.get(path, headers={name: value}).status_code == expected


def test_headers_may_be_as_large_as_envoy_takes_them(client: httpx.Client) -> None:
    assert client.get("/v1/models", headers={"cookie": "c" * 50_000}).status_code == 200
    answer = client.get("/v1/models", headers={"cookie": "c" * 70_000})
    assert answer.status_code == 431
    error_of(answer)
    assert client.get(f"/v1/images/files/none?expires=1&signature={'s' * 50_000}").status_code == 403


@pytest.mark.parametrize("path", ["/v1/images/files/", "/v1/images/files/a/b", "/v1/images/files//"])
def test_a_path_that_is_none_of_ours_does_not_reach_the_service(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "not_found"


def test_options_that_ask_for_no_permission_are_no_method_of_ours(client: httpx.Client) -> None:
    for path in ("/v1/models", VARIATIONS):
        answer = client.options(path)
        assert answer.status_code in (404, 405)
        error_of(answer)


@pytest.mark.parametrize("path", ["/v1/images/files/%ff", "/v1/images/files/a?signature=%ff%fe"])
def test_a_link_of_bytes_that_are_no_text_is_a_bad_request(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 400
    assert error_of(answer)["code"] == "malformed_request"


@pytest.mark.parametrize("message", [b"\xff\xff\xff", b"\x0a\x7f", b"\x0a\x02\xff\xfe"])
async def test_a_message_that_is_none_is_an_invalid_argument(gateway: RunningGateway, message: bytes) -> None:
    async with grpc.aio.insecure_channel(gateway.grpc) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await create(channel)(message)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "DecodeError" not in (refused.value.details() or "")
        method: Any = channel.unary_stream("/imagevariations.v1.ImageVariationService/StreamImageVariation")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await method(message).read()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_grpc_client_cannot_pass_for_a_rest_one(gateway: RunningGateway) -> None:
    async with grpc.aio.insecure_channel(gateway.url.removeprefix("http://")) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await create(channel)(b"", metadata=(("x-envoy-original-path", "/"),))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "x-error-envelope" not in dict(refused.value.trailing_metadata() or ())


def test_a_jpeg_of_thousands_of_scans_is_refused_unopened(client: httpx.Client, many_scans: bytes) -> None:
    answer = client.post(VARIATIONS, json={"image": base64.b64encode(many_scans).decode()})
    assert answer.status_code == 400
    assert error_of(answer)["code"] == "invalid_image"


def test_nothing_of_it_was_a_bug(gateway: RunningGateway) -> None:
    assert gateway.process.poll() is None
    assert not gateway.log_lines("service.error")
