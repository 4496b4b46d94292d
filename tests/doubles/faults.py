"""The failures below any vendor's own format: silence, broken connections and broken bodies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from tests.doubles.framework import Failure, Reply
from tests.doubles.switches import Switch

CONNECTION_EXTENSION = "doubles.connection"
"""Key in the ASGI scope's extensions of the Connection that server.py provides."""

BEFORE_WORK = frozenset({Failure.SLOW, Failure.HANG, Failure.RESET_BEFORE_HEADERS})

# Long enough for the peer to have read the first half before the rest turns into an error; only there
# to make it the same failure every time, so nothing depends on it being exact.
_PAUSE_BEFORE_BREAKING_S = 0.05
_CHUNK = b" " * 65_536


class Connection:
    """The one thing that ASGI does not offer: to break the connection."""

    def __init__(self, reset: Callable[[], None], close: Callable[[], None]) -> None:
        self.reset = reset
        self.close = close


def _connection(request: Request) -> Connection:
    connection = request.scope.get("extensions", {}).get(CONNECTION_EXTENSION)
    if not isinstance(connection, Connection):
        raise RuntimeError("this failure needs the real server: use tests/support/doubles_server.py")
    return connection


async def wait_or_reset(switch: Switch, request: Request) -> None:
    """Plays the faults that come before any work is done. Returns when the request is to be answered after all."""
    if switch.failure is Failure.SLOW:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_gone(request), switch.seconds)
    elif switch.failure is Failure.HANG:
        await _gone(request)
    elif switch.failure is Failure.RESET_BEFORE_HEADERS:
        _connection(request).reset()
        await _gone(request)


async def _gone(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def response(reply: Reply, switch: Switch, request: Request) -> Callable[..., Awaitable[None]]:
    """The reply as an ASGI response, damaged as the switch says."""
    body = reply.body
    match switch.failure:
        case Failure.MALFORMED_JSON:
            body = b'{"created": 1750000000, "data": [}'
        case Failure.TRUNCATED_JSON:
            body = body[: len(body) // 2]
        case Failure.WRONG_CONTENT_TYPE:
            return Response(b"<!doctype html><title>Please wait</title>", 200, media_type="text/html")
        case Failure.RESET_MID_BODY | Failure.CLOSE_MID_BODY:
            return _Broken(reply, body, _connection(request), switch.failure)
        case Failure.HUGE_BODY:
            return _Endless(switch.bytes)
        case _:
            pass
    return Response(body, reply.status, dict(reply.headers), reply.media_type)


class _Broken:
    """Announces the whole body, sends half of it, then breaks the connection."""

    def __init__(self, reply: Reply, body: bytes, connection: Connection, failure: Failure) -> None:
        self._head = Response(body, reply.status, dict(reply.headers), reply.media_type)
        self._connection = connection
        self._failure = failure

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        head = self._head
        body = bytes(head.body)
        await send({"type": "http.response.start", "status": head.status_code, "headers": head.raw_headers})
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await asyncio.sleep(_PAUSE_BEFORE_BREAKING_S)
        if self._failure is Failure.RESET_MID_BODY:
            self._connection.reset()
        else:
            self._connection.close()
        while (await receive())["type"] != "http.disconnect":
            pass


class _Endless:
    """A JSON document of ``length`` bytes, sent without announcing its length, until the client goes away."""

    def __init__(self, length: int) -> None:
        self._length = length

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        left = self._length - 2
        while left > 0 and not await Request(scope, receive).is_disconnected():
            chunk = _CHUNK[:left]
            left -= len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"}", "more_body": False})
