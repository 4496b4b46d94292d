"""Runs the doubles on a real socket, with connections that can be broken."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tests.doubles.app import all_doubles, application
from tests.doubles.faults import CONNECTION_EXTENSION, Connection
from tests.doubles.framework import VendorDouble
from tests.doubles.state import State

_NO_LINGER = struct.pack("ii", 1, 0)


class BreakableProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with the connection within the application's reach."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        inner = self.app

        def reset() -> None:
            # Closing a socket that may not linger sends RST instead of FIN.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            transport.abort()

        connection = Connection(reset=reset, close=transport.close)

        async def with_connection(scope: Any, receive: Any, send: Any) -> None:
            scope["extensions"] = {**scope.get("extensions", {}), CONNECTION_EXTENSION: connection}
            await inner(scope, receive, send)

        self.app = with_connection


class DoublesServer:
    """The doubles on 127.0.0.1, in a thread of their own. Use it in a ``with`` statement.

    Attributes:
        state: The log, the leaks and the switches: ``server.state.fail("fal", "rate_limited", times=1)``.
        url: Without a trailing slash; a vendor is at ``{url}/{vendor}``.
    """

    def __init__(self, doubles: Iterable[VendorDouble] | None = None, *, port: int = 0) -> None:
        self.state = State(all_doubles() if doubles is None else doubles)
        # Bound here, so that the port is known and connections queue up before the thread runs.
        self._socket = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            application(self.state),
            http=BreakableProtocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def base_url(self, vendor: str) -> str:
        """A vendor's address; it goes into the configuration as its ``base_url``."""
        return f"{self.url}/{vendor}"

    def __enter__(self) -> DoublesServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(timeout=10)
        self._socket.close()

    def run_until_interrupted(self) -> None:
        """Serves in the calling thread, until SIGINT or SIGTERM."""
        self._server.run([self._socket])
