"""Requests that can be read in two ways, that are not what they seem, or that grow when they are read."""

from __future__ import annotations

import gzip
import json

import httpx
import pytest
from hpack import Decoder
from raw_http import BOUNDARY, VARIATIONS, RawAnswer, connected, exchange, form_body, read_answer, request_head
from raw_http2 import HEADERS, frames, http2_connection, request_frame
from running_gateway import RunningGateway

JSON = {"content-type": "application/json"}
HEAD = b"POST /v1/images/variations HTTP/1.1\r\nhost: gateway.test\r\ncontent-type: application/json\r\n"
NEXT = b"GET /smuggled HTTP/1.1\r\nhost: gateway.test\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"content-length: +5\r\n",
        b"content-length: 5, 6\r\n",
        b"content-length : 5\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"transfer-encoding\t: chunked\r\n",
        b"x: y\nz: w\r\n",
        b"x: a\0b\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_and_the_connection_ends(
    gateway: RunningGateway, headers: bytes
) -> None:
    with connected(gateway.url) as connection:
        connection.sendall(HEAD + headers + b"\r\n0\r\n\r\n" + NEXT)
        answer = read_answer(connection)
        assert answer.status in (400, 501)
        assert answer.error["type"] == "invalid_request_error"
        # The bytes that follow may be refused once more, as no request; they are never served as one.
        rest = b""
        while piece := connection.recv(65_536):
            rest += piece
    assert rest == b"" or rest.startswith(b"HTTP/1.1 400 ")
    assert rest.count(b"HTTP/1.1 ") <= 1


def test_an_unknown_transfer_encoding_is_named(gateway: RunningGateway) -> None:
    answer = exchange(gateway.url, request_head(VARIATIONS, headers={**JSON, "transfer-encoding": "gzip"}))
    assert answer.status == 501
    assert answer.error["code"] == "unsupported_transfer_encoding"


@pytest.mark.parametrize("method", ["BREW", "CONNECT", "TRACE", "PUT", "get", "PRI", "G@T", "M-SEARCH"])
def test_odd_methods_are_told_why_not(gateway: RunningGateway, method: str) -> None:
    for path in ("/v1/models", "/nothing"):
        answer = exchange(gateway.url, request_head(path, method=method, headers={"content-length": "0"}))
        assert answer.status in (400, 404, 405)
        assert answer.error["message"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v1/models HTTP/1.1\r\n\r\n",
        b"GET /v1/models#part HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
    ],
)
def test_what_is_no_request_is_told_so(gateway: RunningGateway, request_bytes: bytes) -> None:
    answer: RawAnswer = exchange(gateway.url, request_bytes)
    assert answer.status in (400, 403)
    assert "(" in answer.error["message"]


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "user-agent", "x-request-id", "cookie"])
def test_a_header_that_is_not_ascii_is_named_and_not_logged(gateway: RunningGateway, name: str) -> None:
    secret = "sk-" + "7" * 40
    for path, method in ((VARIATIONS, "POST"), ("/v1/models", "GET")):
        head = request_head(path, method=method, headers={**JSON, "content-length": "0", name: f"Bearer {secret}\xe9"})
        answer = exchange(gateway.url, head)
        assert answer.status == 400
        assert name in answer.error["message"]
    assert secret not in gateway.log


def test_a_header_that_is_not_ascii_is_an_invalid_argument_in_grpc(gateway: RunningGateway) -> None:
    """Through Envoy. No gRPC client sends one; what is refused is what somebody wrote by hand."""
    odd = {"content-type": "application/grpc", "te": "trailers", "x-note": "caf\xe9"}
    with http2_connection(gateway.url) as connection:
        connection.sendall(request_frame(1, "POST", "/imagevariations.v1.ModelService/ListModels", odd))
        answer = next(payload for kind, _, stream, payload in frames(connection) if (kind, stream) == (HEADERS, 1))
    headers = {str(name): str(value) for name, value in Decoder().decode(answer)}
    assert (headers[":status"], headers["grpc-status"]) == ("200", "3")
    assert "x-note" in headers["grpc-message"]


def test_a_gzip_bomb_is_not_unpacked(gateway: RunningGateway, client: httpx.Client, small_image: bytes) -> None:
    bomb = gzip.compress(form_body(bytes(200_000_000)), 9)
    assert len(bomb) < 300_000
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}", "content-encoding": "gzip"}
    answer = client.post(VARIATIONS, content=bomb, headers=headers)
    assert answer.status_code in (400, 415)
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_body_over_the_limit_is_refused_by_its_length(gateway: RunningGateway) -> None:
    for content in (JSON, {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}):
        with connected(gateway.url) as connection:
            connection.sendall(request_head(VARIATIONS, headers={**content, "content-length": "52428801"}))
            answer = read_answer(connection)
        assert answer.status == 413
        assert answer.error["code"] == "request_too_large"


@pytest.mark.slow
def test_json_that_grows_when_it_is_read_is_too_large(client: httpx.Client) -> None:
    """Two bytes a number in JSON are eleven in the message."""
    text = '{"image":"aGk=","provider_options":{"fixed":{"a":[' + "1," * 15_000_000 + "1]}}}"
    answer = client.post(VARIATIONS, content=text, headers=JSON, timeout=120)
    assert answer.status_code in (400, 413)
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_the_query_is_no_field(client: httpx.Client, small_image: bytes) -> None:
    query = "?n=3&model=nobody/none&response_format=url"
    files, data = {"image": ("a.png", small_image)}, {"response_format": "b64_json"}
    form = client.post(VARIATIONS + query, files=files, data=data)
    assert form.status_code == 200, form.text
    answer = client.post(VARIATIONS + "?n=99&image_url=http://127.0.0.1/", content=b"{}", headers=JSON)
    assert answer.json()["error"]["code"] == "missing_image"


def test_a_link_is_for_the_file_in_its_path(gateway: RunningGateway, client: httpx.Client, small_image: bytes) -> None:
    files = {"image": ("a.png", small_image)}
    links = [
        httpx.URL(each["url"])
        for each in client.post(VARIATIONS, files=files, data={"n": "2", "response_format": "url"}).json()["data"]
    ]
    first, second = links[0], links[1]
    name = second.path.rsplit("/", 1)[1]
    assert client.get(first.copy_add_param("name", name)).content == client.get(first).content
    assert client.get(first.copy_with(query=second.query).copy_add_param("name", name)).status_code == 403


def test_nothing_of_grpc_shows_in_rest(client: httpx.Client, small_image: bytes) -> None:
    files, data = {"image": ("a.png", small_image)}, {"response_format": "url"}
    answers = [client.get("/v1/models"), client.post(VARIATIONS, files=files, data=data)]
    answers.append(client.get(answers[1].json()["data"][0]["url"]))
    answers.append(client.post(f"{VARIATIONS}:stream", files=files, data=data))
    for answer in answers:
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("grpc-")]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (VARIATIONS, "POST"),
        (f"{VARIATIONS}:stream", "POST"),
        ("/v1/models", "GET"),
        ("/v1/images/files/a.png", "GET, HEAD"),
        ("/v1/cache/abc", "DELETE"),
    ],
)
def test_a_wrong_method_is_told_the_right_one(client: httpx.Client, path: str, allowed: str) -> None:
    for method in {"PUT", "PATCH", "GET", "POST", "DELETE"} - set(allowed.split(", ")):
        answer = client.request(method, path)
        assert answer.status_code == 405
        assert answer.headers["allow"] == allowed
        assert answer.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    "path",
    [f"{VARIATIONS}/", "/images/variations", f"/openai{VARIATIONS}", "/openai/v1/images/variations/", f"/{VARIATIONS}"],
)
def test_a_path_that_is_nearly_right_is_served(client: httpx.Client, small_image: bytes, path: str) -> None:
    url = str(client.base_url).rstrip("/") + path
    answer = client.post(url, files={"image": ("a.png", small_image)}, data={"response_format": "b64_json"})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", ["/models", "/v1/models/", "/openai/v1/models"])
def test_the_models_are_found_at_a_path_that_is_nearly_right(client: httpx.Client, path: str) -> None:
    assert client.get(path).json()["object"] == "list"


def test_azures_path_is_told_where_to_go(client: httpx.Client, small_image: bytes) -> None:
    answer = client.post(
        "/openai/deployments/pictures/images/variations?api-version=2026-01-01", files={"image": ("a.png", small_image)}
    )
    assert answer.status_code == 404
    assert VARIATIONS in json.loads(answer.content)["error"]["message"]
