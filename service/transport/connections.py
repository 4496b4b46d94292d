"""Connections that hand over one answer for each request, and end at once: aiohttp's own trust the other side."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader


def connector(**settings: Any) -> aiohttp.TCPConnector:
    """A pool of such connections, with the settings of ``aiohttp.TCPConnector``. Call it in an event loop."""
    made = aiohttp.TCPConnector(**settings)
    # There is no public way to choose the protocol; the tests fail should this one stop working.
    make = functools.partial(_OneAnswerEach, loop=asyncio.get_running_loop())
    made._factory = make  # type: ignore[assignment]  # a subclass, but partial is invariant
    return made


class _OneAnswerEach(ResponseHandler):
    """One connection.

    aiohttp takes whatever arrives on a kept connection for the answer to the next request, so that from one answer
    too many on everybody is given the one before theirs; and it goes on reading, into memory, while nobody asks for
    anything. Here the connection ends instead.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._due = False

    def set_response_params(self, **params: Any) -> None:
        """A request is about to be sent."""
        self._due = True
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        # An empty piece is aiohttp's own, to go on with what it has.
        if data and not self._due and (self._payload is None or self._payload.is_eof()):
            self.abort()
            return
        super().data_received(data)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """The head of an answer has been read."""
        if not self._due:
            self.abort()
            return
        status = data[0].code
        self._due = 100 <= status < 200 and status != 101
        super().feed_data(data, size)

    def close(self) -> None:
        """Ends the connection, without waiting until the other side has taken what is left to send: it may never."""
        self.abort()
