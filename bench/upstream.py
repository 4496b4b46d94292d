"""A provider that answers at once: OpenAI's images/variations and images/edits, one process on uvloop.

``POST …/images/variations`` and ``…/images/edits`` answer 200 with ``n`` images of 256x256 pixels in ``b64_json``.
Each body is checked: a multipart form with its boundary and a PNG in it; others are answered 400, so that a
gateway which loses bytes cannot win. The path's first segment ``delay-<ms>`` answers that much later, so that
requests pile up in the gateway.

    python -m bench.upstream PORT
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sys
from typing import cast

import httptools
import uvloop

from bench.payloads import small_png

PICTURE = small_png(256)
"""Each image of an answer."""

_ITEM = {"b64_json": base64.b64encode(PICTURE).decode()}
_PNG = b"\x89PNG\r\n\x1a\n"
_DELAY = re.compile(rb"/delay-(\d{1,5})/")
_N = re.compile(rb'name="n"\r\n\r\n(\d{1,2})\r\n')


def _answer(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


_ANSWERS = {
    n: _answer(b"200 OK", json.dumps({"created": 1_700_000_000, "data": [_ITEM] * n}).encode()) for n in range(1, 11)
}
_REFUSAL = _answer(b"400 Bad Request", b'{"error":{"message":"no form with a PNG","type":"invalid_request_error"}}')


class Provider(asyncio.Protocol):
    """One connection; requests on it are answered in turn."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports behave as asyncio's, but are none by class.
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpRequestParser(self)
        self._clear()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        body = b"".join(self._pieces)
        boundary = self._headers.get(b"content-type", b"").partition(b"boundary=")[2].strip(b'"')
        if boundary and boundary in body[:200] and _PNG in body:
            n = _N.search(body)
            answer = _ANSWERS[min(10, max(1, int(n[1])))] if n else _ANSWERS[1]
        else:
            answer = _REFUSAL
        delay = _DELAY.search(self._url)
        if delay:
            asyncio.get_running_loop().call_later(int(delay[1]) / 1000, self._transport.write, answer)
        else:
            self._transport.write(answer)
        self._clear()

    def _clear(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
