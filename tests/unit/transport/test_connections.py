"""Kept connections, and the end of those that are given up: whatever the other side does with them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from service.concurrency.tasks import started
from service.core.errors import GatewayError
from service.providers.http import SignableRequest
from service.transport.client import open_client
from service.transport.send import send


async def asked(client, server, path, method="GET", body=b"", timeout_s=10.0):
    request = SignableRequest(method, server.url + path, {}, body)
    return (await send(client, request, timeout_s=timeout_s, max_response_bytes=1_000_000)).body


def answer_of(text):
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(text), text)


@pytest.mark.parametrize("when", ["with the answer", "right behind its end", "later"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_answer_too_many_is_nobodys(client, serve, when, method):
    async def once_too_often(received, connection):
        answer = answer_of(received.path.encode())
        if when == "with the answer":
            await connection.write(answer + answer_of(b"poison"))
        elif when == "right behind its end":
            await connection.write(answer[:-1])
            await asyncio.sleep(0.02)
            await connection.write(answer[-1:] + answer_of(b"poison"))
        else:
            await connection.write(answer)
            await asyncio.sleep(0.02)
            await connection.write(answer_of(b"poison"))

    server = await serve(once_too_often)
    for number in range(4):
        assert await asked(client, server, f"/{number}", method) == f"/{number}".encode()
        # Long enough for what is too much to arrive before the next request: after it, nobody could tell.
        await asyncio.sleep(0.1)
    assert len(server.received) == 4


async def test_connections_are_kept_and_used_again(client, serve):
    ports = set()

    async def remember(received, connection):
        ports.add(connection.writer.get_extra_info("peername")[1])
        await connection.write(answer_of(b"fine"))

    server = await serve(remember)
    for number in range(5):
        await asked(client, server, f"/{number}", "POST", b"body")
    assert len(ports) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n",
    ],
    ids=["well-behaved at first", "a length beyond numbers"],
)
async def test_nobody_reads_what_comes_while_nothing_was_asked(client, serve, head):
    gone = asyncio.Event()

    async def flood(received, connection):
        await connection.write(head)
        await asyncio.sleep(0.05)
        with suppress(ConnectionError):
            while not connection.writer.is_closing():
                await connection.write(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 8000 + b"\r\ncontent-length: 0\r\n\r\n")
        gone.set()

    server = await serve(flood)
    await asked(client, server, "/")
    async with asyncio.timeout(5):
        await gone.wait()


async def test_an_upload_that_is_given_up_ends_at_once_though_nobody_reads_it(client, serve):
    given_up, ended = asyncio.Event(), asyncio.Event()

    async def deaf(received, connection):
        await given_up.wait()
        connection.writer.transport.pause_reading()
        with suppress(ConnectionError):
            while not connection.writer.is_closing():
                await connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await asyncio.sleep(0.01)
        ended.set()

    server = await serve(deaf)
    server.reads_bodies = False
    with pytest.raises(TimeoutError):
        await asked(client, server, "/", "POST", b"x" * 30_000_000, timeout_s=0.3)
    given_up.set()
    async with asyncio.timeout(5):
        await ended.wait()


async def test_closing_waits_for_no_upload_that_nobody_reads(serve):
    hearing = asyncio.Event()

    async def deaf(received, connection):
        connection.writer.transport.pause_reading()
        # Until the upload has nowhere to go on to.
        await asyncio.sleep(0.2)
        hearing.set()
        await asyncio.Event().wait()

    server = await serve(deaf)
    server.reads_bodies = False
    client = open_client()
    upload = started(asked(client, server, "/", "POST", b"x" * 30_000_000))
    async with asyncio.timeout(5):
        await hearing.wait()
        await client.aclose()
    with pytest.raises(GatewayError):
        await upload
