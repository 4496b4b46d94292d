"""Connections that are opened, held, or begun on over and over, and never meant."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from attacked_gateway import configuration
from raw_http import VARIATIONS, connected, exchange, many_connections, read_answer, request_head
from raw_http2 import (
    CONTINUATION,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    RST_STREAM,
    frame,
    frames,
    header_block,
    http2_connection,
    request_frame,
    reset,
)
from running_gateway import RunningGateway, running_gateway

from tests.doubles.server import DoublesServer

MOST_CONNECTIONS = 200


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, provider: DoublesServer) -> Iterator[RunningGateway]:
    """A gateway that takes few connections."""
    document = configuration(provider, limits={"connections": MOST_CONNECTIONS})
    with running_gateway(tmp_path_factory.mktemp("narrow"), document) as running:
        yield running


def test_connections_beyond_the_limit_end_at_once_and_those_within_are_served(narrow: RunningGateway) -> None:
    with httpx.Client(base_url=narrow.url, timeout=20, trust_env=False) as early:
        assert early.get("/v1/models").status_code == 200
        with many_connections(narrow.url, MOST_CONNECTIONS + 50) as idle:
            last = idle[-1]
            with contextlib.suppress(ConnectionError):
                assert last.recv(1) == b""  # not left to wait for a place
            for path in ("/healthz", "/v1/models"):
                assert early.get(path).status_code == 200
    with httpx.Client(base_url=narrow.url, timeout=20, trust_env=False) as late:
        assert late.get("/healthz").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("first", [b"", request_head("/healthz", method="GET")])
def test_connections_that_do_nothing_make_room_by_themselves(narrow: RunningGateway, first: bytes) -> None:
    """Whether they have ever asked for anything or not: the fuller it is, the sooner idle ones end."""
    with many_connections(narrow.url, MOST_CONNECTIONS) as idle:
        for each in idle:
            with contextlib.suppress(ConnectionError):
                each.sendall(first)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{narrow.url}/healthz", timeout=20, trust_env=False).status_code == 200:
                    return
            time.sleep(0.5)  # noqa: TID251 - waits for another process, not on an event loop
    raise AssertionError("idle connections keep everybody out")


@pytest.mark.slow
def test_a_head_that_drips_in_is_not_waited_for(gateway: RunningGateway) -> None:
    """Slowloris: a header every second, and the head never ends."""
    with connected(gateway.url) as connection:
        connection.sendall(request_head("/v1/models", method="GET")[:-2])
        connection.settimeout(1)
        for number in range(20):
            with contextlib.suppress(TimeoutError):
                if connection.recv(12) == b"HTTP/1.1 408":
                    return
            connection.sendall(f"x-{number}: y\r\n".encode())
    raise AssertionError("the head was waited for")


def test_many_heads_that_drip_in_keep_nobody_waiting(gateway: RunningGateway, client: httpx.Client) -> None:
    with many_connections(gateway.url, 500) as slow:
        for each in slow:
            each.sendall(request_head("/v1/models", method="GET")[:-2])
        for _ in range(20):
            assert client.get("/v1/models").status_code == 200


def test_a_flood_of_headers_is_refused(gateway: RunningGateway, client: httpx.Client) -> None:
    for headers in ({f"x-{number}": "y" for number in range(1000)}, {"x": "y" * 70_000}):
        answer = exchange(gateway.url, request_head("/v1/models", method="GET", headers=headers))
        assert answer.status == 431
        assert answer.error["code"] == "malformed_request"
    assert client.get("/v1/models").status_code == 200


def test_headers_that_never_end_end_the_connection(gateway: RunningGateway, client: httpx.Client) -> None:
    """CONTINUATION flood: each frame one more piece of a head."""
    block = header_block("GET", "/v1/models")
    piece = frame(CONTINUATION, 0, 1, header_block("GET", "/", {f"x-{n}": "y" * 100 for n in range(50)})[10:])
    with http2_connection(gateway.url) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(frame(HEADERS, 0, 1, block))
            for _ in range(2000):
                connection.sendall(piece)
        kinds = {kind for kind, _, _, _ in frames(connection)}
    assert kinds & {GOAWAY, RST_STREAM} or kinds <= {4, 8}
    assert client.get("/v1/models").status_code == 200


def rapidly_reset(url: str, stop: threading.Event, ended: threading.Event) -> None:
    """Begins requests and takes them back, on one connection after another."""
    while not stop.is_set():
        with contextlib.suppress(OSError), http2_connection(url) as connection:
            stream = 1
            while not stop.is_set():
                connection.sendall(
                    b"".join(
                        request_frame(each, "GET", "/v1/models") + reset(each) for each in range(stream, stream + 40, 2)
                    )
                )
                stream += 40
        if not stop.is_set():
            ended.set()


def test_requests_that_are_reset_at_once_end_their_connection_and_no_other(
    gateway: RunningGateway, client: httpx.Client
) -> None:
    stop, ended = threading.Event(), threading.Event()
    attacker = threading.Thread(target=rapidly_reset, args=(gateway.url, stop, ended))
    attacker.start()
    try:
        answers = [client.get("/v1/models") for _ in range(30)]
        assert ended.wait(20)
    finally:
        stop.set()
        attacker.join()
    assert {answer.status_code for answer in answers} == {200}


def test_more_streams_than_allowed_are_refused(gateway: RunningGateway) -> None:
    with http2_connection(gateway.url) as connection:
        # Without a body, which the form route waits for.
        head = header_block(
            "POST", VARIATIONS, {"content-type": "multipart/form-data; boundary=x", "content-length": "9"}
        )
        connection.sendall(b"".join(frame(HEADERS, END_HEADERS, stream, head) for stream in range(1, 401, 2)))
        connection.settimeout(5)
        refused = set()
        with contextlib.suppress(TimeoutError, socket.timeout):
            for kind, _, stream, _ in frames(connection):
                if kind in (RST_STREAM, GOAWAY):
                    refused.add(stream)
                    break
    assert refused


def test_a_connection_is_served_again_after_all_that(gateway: RunningGateway, client: httpx.Client) -> None:
    assert client.get("/readyz").status_code == 200
    with connected(gateway.url) as connection:
        connection.sendall(request_head("/v1/models", method="GET"))
        assert read_answer(connection).status == 200
    assert gateway.process.poll() is None
    assert not gateway.log_lines("service.error")
