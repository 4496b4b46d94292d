"""The doubles' server: what it logs, which failures it can be switched to, and which keys it finds where."""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from service.providers import wire
from service.providers.http import HttpResponse
from tests.doubles.framework import Call, Failure, Hint, Operation, Purpose, Reply, VendorDouble, key_in_header
from tests.doubles.images import make_variation, make_variations
from tests.doubles.server import DoublesServer
from tests.doubles.strict import Field, first_problem
from tests.doubles.switches import switch_from


async def _echo(call: Call) -> Reply:
    return Reply(json={"model": call.params["model"], "failure": call.failure, "padding": "x" * 1000})


async def _publish(call: Call) -> Reply:
    return Reply(json={"url": call.publish(b"file", "image/png"), "base_url": call.base_url})


async def _poll(call: Call) -> Reply:
    return Reply(json={"status": "pending"})


def _vendor(name: str) -> VendorDouble:
    return VendorDouble(
        name=name,
        operations=(
            Operation("POST", "/publish", _publish),
            Operation("GET", "/job", _poll, Purpose.POLL),
            Operation("POST", "/models/{model:path}/run", _echo),
        ),
        authenticate=key_in_header("x-key"),
        error=lambda status, message: Reply(status, {"error": {"code": status, "message": message}}),
        model="a/b",
    )


@pytest.fixture(scope="module")
def _process() -> Iterator[DoublesServer]:
    with DoublesServer([_vendor("one"), _vendor("two")]) as running:
        yield running


@pytest.fixture
def server(_process: DoublesServer) -> DoublesServer:
    _process.state.reset()
    return _process


@pytest.fixture
def client(server: DoublesServer) -> Iterator[httpx.Client]:
    key = "double-key-one-of-one"
    with httpx.Client(base_url=server.base_url("one"), headers={"x-key": key}, trust_env=False, timeout=10) as opened:
        yield opened


def _run(client: httpx.Client, model: str = "a/b") -> httpx.Response:
    return client.post(f"/models/{model}/run", json={"prompt": "x"})


def test_an_operation_is_given_the_variable_parts_of_its_path(client: httpx.Client) -> None:
    assert _run(client, "owner/some-name").json()["model"] == "owner/some-name"


@pytest.mark.parametrize("headers", [{"x-key": ""}, {"x-key": "wrong"}, {"x-key": "double-key-one-of-two"}])
def test_only_the_vendors_own_keys_are_accepted(client: httpx.Client, headers: dict[str, str]) -> None:
    response = client.post("/models/a/b/run", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (401, 401)


def test_a_path_that_is_no_operation_gets_the_vendors_404(client: httpx.Client) -> None:
    for response in (client.get("/nothing"), client.get("/models/a/b/run")):
        assert (response.status_code, response.json()["error"]["code"]) == (404, 404)


def test_requests_are_logged_in_order_with_their_parsed_bodies(server: DoublesServer, client: httpx.Client) -> None:
    client.post("/models/a/b/run?q=1", json={"n": 2})
    client.post("/models/a/b/run", data={"n": "2"}, files={"image": ("in.png", b"bytes", "image/png")})
    first, second = server.state.requests("one")
    assert (first.order, first.method, first.path, first.query) == (0, "POST", "/models/a/b/run", {"q": "1"})
    assert (first.json, first.form, first.media_type) == ({"n": 2}, None, "application/json")
    assert second.form is not None
    assert second.form.fields == (("n", "2"),)
    assert [(file.name, file.filename, file.media_type, file.data) for file in second.form.files] == [
        ("image", "in.png", "image/png", b"bytes")
    ]
    assert server.state.requests("two") == []


def test_the_log_can_be_read_and_reset_over_http(server: DoublesServer, client: httpx.Client) -> None:
    client.post("/models/a/b/run", json={"image": "x" * 1000})
    (logged,) = client.get(f"{server.url}/_log").json()
    assert (logged["vendor"], logged["path"], logged["headers"]["x-key"]) == (
        "one",
        "/models/a/b/run",
        "double-key-one-of-one",
    )
    assert logged["json"]["image"].endswith("… (1000 characters)")
    assert client.delete(f"{server.url}/_log").status_code == 204
    assert client.get(f"{server.url}/_log").json() == []


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        ("unauthenticated", 401),
        ("payment_required", 402),
        ("forbidden", 403),
        ("model_gone", 404),
        ("rate_limited", 429),
        ("server_error", 500),
        ("overloaded", 503),
        (402, 402),
    ],
)
def test_errors_are_the_vendors_own(
    server: DoublesServer, client: httpx.Client, failure: str | int, status: int
) -> None:
    server.state.fail("one", failure, times=1)
    response = _run(client)
    assert (response.status_code, response.json()["error"]["code"]) == (status, status)
    assert _run(client).status_code == 200


@pytest.mark.parametrize("hint", [hint for hint in Hint if hint is not Hint.NONE])
def test_the_service_reads_every_retry_hint(server: DoublesServer, client: httpx.Client, hint: Hint) -> None:
    server.state.fail("one", "rate_limited", hint=hint, seconds=7)
    response = _run(client)
    assert response.status_code == 429
    assert wire.retry_after(HttpResponse(429, dict(response.headers), response.content)) == 7


def test_without_a_hint_there_is_none(server: DoublesServer, client: httpx.Client) -> None:
    server.state.fail("one", "rate_limited")
    response = _run(client)
    assert wire.retry_after(HttpResponse(429, dict(response.headers), response.content)) is None


def test_a_switch_is_for_its_model_key_and_purpose_only(server: DoublesServer, client: httpx.Client) -> None:
    server.state.fail("one", 500, model="a/b")
    server.state.fail("one", 503, key="double-key-two-of-one")
    server.state.fail("one", 429, on="poll")
    assert _run(client, "a/b").status_code == 500
    assert _run(client, "a/c").status_code == 200
    assert client.post("/models/a/c/run", headers={"x-key": "double-key-two-of-one"}).status_code == 503
    assert client.get("/job").status_code == 429


def test_the_newest_switch_wins_and_is_used_up(server: DoublesServer, client: httpx.Client) -> None:
    server.state.fail("one", 500)
    server.state.fail("one", "ok", times=1)
    server.state.fail("one", 429, times=2)
    assert [_run(client).status_code for _ in range(4)] == [429, 429, 200, 500]


def test_switches_can_be_set_over_http(server: DoublesServer, client: httpx.Client) -> None:
    switch = f"{server.url}/_switch/one"
    assert client.put(switch, json={"failure": "rate_limited", "hint": "retry-after", "times": 1}).status_code == 204
    assert _run(client).headers["retry-after"] == "1"
    client.put(switch, json={"failure": 500})
    client.delete(switch)
    assert _run(client).status_code == 200


@pytest.mark.parametrize(
    "switch", [{"failure": "wrong"}, {"failure": 418}, {"hint": "wrong"}, {"on": "wrong"}, {"unknown": 1}]
)
def test_a_wrong_switch_is_refused(server: DoublesServer, client: httpx.Client, switch: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        switch_from(switch)
    assert client.put(f"{server.url}/_switch/one", json=switch).status_code == 400
    assert client.put(f"{server.url}/_switch/three", json={}).status_code == 400


def test_failures_of_content_are_left_to_the_vendor(server: DoublesServer, client: httpx.Client) -> None:
    server.state.fail("one", "partial_refusal", times=1)
    assert _run(client).json()["failure"] == Failure.PARTIAL_REFUSAL
    assert _run(client).json()["failure"] == Failure.OK


def _received(server: DoublesServer) -> tuple[bytes, bool]:
    """The bytes that a plain socket reads until the connection ends, and whether an RST ended it."""
    address = urlsplit(server.url)
    received = b""
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall(
            b"POST /one/models/a/b/run HTTP/1.1\r\nhost: x\r\nx-key: double-key-one-of-one\r\n"
            b"content-length: 0\r\nconnection: close\r\n\r\n"
        )
        try:
            while chunk := connection.recv(65_536):
                received += chunk
        except ConnectionResetError:
            return received, True
    return received, False


def test_a_reset_before_the_headers_is_a_tcp_rst(server: DoublesServer) -> None:
    server.state.fail("one", "reset_before_headers")
    assert _received(server) == (b"", True)


def test_a_reset_in_the_body_is_a_tcp_rst_after_half_of_it(server: DoublesServer) -> None:
    server.state.fail("one", "reset_mid_body")
    received, was_reset = _received(server)
    head, _, body = received.partition(b"\r\n\r\n")
    assert was_reset
    assert head.startswith(b"HTTP/1.1 200")
    assert 0 < len(body) < _announced_length(head)


def test_a_close_in_the_body_ends_it_before_its_announced_length(server: DoublesServer) -> None:
    server.state.fail("one", "close_mid_body")
    received, was_reset = _received(server)
    head, _, body = received.partition(b"\r\n\r\n")
    assert not was_reset
    assert 0 < len(body) < _announced_length(head)


def _announced_length(head: bytes) -> int:
    (line,) = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: "))
    return int(line.partition(b": ")[2])


def test_the_server_goes_on_after_broken_connections(server: DoublesServer, client: httpx.Client) -> None:
    for failure in ("reset_before_headers", "reset_mid_body", "close_mid_body"):
        server.state.fail("one", failure, times=1)
        with pytest.raises(httpx.TransportError):
            _run(client)
        assert _run(client).status_code == 200


def test_a_slow_answer_comes_late_and_whole(server: DoublesServer, client: httpx.Client) -> None:
    server.state.fail("one", "slow", seconds=0.2)
    start = time.monotonic()
    assert _run(client).json()["model"] == "a/b"
    assert time.monotonic() - start >= 0.2


def test_silence_lasts_until_the_client_gives_up(server: DoublesServer, client: httpx.Client) -> None:
    server.state.fail("one", "hang", times=1)
    with pytest.raises(httpx.ReadTimeout):
        client.post("/models/a/b/run", timeout=0.2)
    assert _run(client).status_code == 200


@pytest.mark.parametrize("failure", ["malformed_json", "truncated_json", "wrong_content_type"])
def test_bodies_that_are_no_json(server: DoublesServer, client: httpx.Client, failure: str) -> None:
    server.state.fail("one", failure)
    response = _run(client)
    assert response.status_code == 200
    assert (response.headers["content-type"] == "application/json") == (failure != "wrong_content_type")
    with pytest.raises(json.JSONDecodeError):
        response.json()


def test_a_huge_body_is_json_of_the_length_asked_for(server: DoublesServer, client: httpx.Client) -> None:
    server.state.fail("one", "huge_body", bytes=1_000_000)
    response = _run(client)
    assert "content-length" not in response.headers
    assert (len(response.content), response.json()) == (1_000_000, {})


def test_results_are_served_below_the_vendor_without_a_key(server: DoublesServer, client: httpx.Client) -> None:
    published = client.post("/publish").json()
    assert published["base_url"] == server.base_url("one")
    assert published["url"].startswith(f"{server.base_url('one')}/_files/")
    file = httpx.get(published["url"], trust_env=False)
    assert (file.content, file.headers["content-type"]) == (b"file", "image/png")
    assert not server.state.leaks


def test_an_expired_result_answers_403_as_storage_does(server: DoublesServer, client: httpx.Client) -> None:
    server.state.fail("one", "expired_url")
    url = client.post("/publish").json()["url"]
    assert httpx.get(url, trust_env=False).status_code == 403
    assert httpx.get(url + "x", trust_env=False).status_code == 404


@pytest.mark.parametrize(
    ("extra", "where"),
    [
        ({"headers": {"x-other": "Bearer double-key-two-of-two"}}, "header x-other"),
        ({"params": {"key": "double-key-two-of-two"}}, "query"),
        ({"json": {"deep": ["double-key-two-of-two"]}}, "body"),
    ],
)
def test_a_key_of_another_vendor_is_a_leak_wherever_it_is(
    server: DoublesServer, client: httpx.Client, extra: dict[str, object], where: str
) -> None:
    client.post("/models/a/b/run", **extra)  # type: ignore[arg-type]
    assert [(leak.vendor, leak.key_of, leak.where) for leak in server.state.leaks] == [("one", "two", where)]
    assert client.get(f"{server.url}/_leaks").json()[0]["key_of"] == "two"


def test_a_vendors_own_key_is_a_leak_outside_the_headers_and_at_result_files(
    server: DoublesServer, client: httpx.Client
) -> None:
    url = client.post("/publish").json()["url"]
    assert not server.state.leaks
    client.get(url)
    client.post("/models/a/b/run", json={"key": "double-key-one-of-one"})
    assert [leak.where for leak in server.state.leaks] == ["header x-key", "body"]


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
async def test_images_have_the_size_asked_for_and_differ_by_seed_and_place(file_format: str) -> None:
    source = make_variation(b"", size=(64, 48))
    images = [
        image
        for seed in (1, 2)
        for image in await make_variations(source, 3, size=(90, 50), file_format=file_format, seed=seed)
    ]
    opened = [Image.open(io.BytesIO(image)) for image in images]
    assert {(image.size, (image.format or "").lower()) for image in opened} == {((90, 50), file_format)}
    assert all(one != other for one, other in pairwise(sorted(images)))
    again = await make_variations(source, 3, size=(90, 50), file_format=file_format, seed=1)
    assert again == images[:3]


@pytest.mark.parametrize(
    ("values", "field", "reason"),
    [
        ({"n": 1, "size": "a", "extra": 1}, "extra", "unknown"),
        ({"size": "a"}, "n", "missing"),
        ({"n": "1"}, "n", "type"),
        ({"n": True}, "n", "type"),
        ({"n": 0}, "n", "value"),
        ({"n": 5}, "n", "value"),
        ({"n": 1, "size": "c"}, "size", "value"),
        ({"n": 1, "text": "long"}, "text", "value"),
        ({"n": 1, "odd": 2}, "odd", "value"),
    ],
)
def test_strict_fields_name_what_is_wrong(values: dict[str, object], field: str, reason: str) -> None:
    fields = {
        "n": Field(int, required=True, minimum=1, maximum=4),
        "size": Field(choices=("a", "b")),
        "text": Field(maximum=3),
        "odd": Field(float, check=lambda value: "" if value % 2 else "must be odd"),
    }
    problem = first_problem(values, fields)
    assert problem is not None
    assert (problem.field, problem.reason) == (field, reason)
    assert first_problem({"n": 2, "size": "b", "text": "abc", "odd": 3}, fields) is None
