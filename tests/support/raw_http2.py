"""HTTP/2 by hand: frames as bytes, for clients that keep to no rule."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator, Mapping

from hpack import Encoder
from raw_http import connected

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM = ACK = 1
END_HEADERS = 4
INITIAL_WINDOW_SIZE = 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def setting(name: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, struct.pack(">HI", name, value))


def header_block(method: str, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The headers of a request, compressed without the connection's table, so that blocks may come in any order."""
    pseudo = {":method": method, ":scheme": "http", ":path": path, ":authority": "gateway.test"}
    block: bytes = Encoder().encode([(name, value, True) for name, value in {**pseudo, **(headers or {})}.items()])
    return block


def request_frame(stream: int, method: str, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole request without a body."""
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, header_block(method, path, headers))


def reset(stream: int) -> bytes:
    cancel = 8
    return frame(RST_STREAM, 0, stream, struct.pack(">I", cancel))


@contextlib.contextmanager
def http2_connection(url: str, *settings: bytes) -> Iterator[socket.socket]:
    """A connection after its preface."""
    with contextlib.closing(connected(url)) as connection:
        connection.sendall(PREFACE + (b"".join(settings) or frame(SETTINGS, 0, 0)))
        yield connection


def frames(connection: socket.socket) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of each frame that comes, until the connection ends."""
    with contextlib.suppress(ConnectionError), connection.makefile("rb") as stream:
        while len(head := stream.read(9)) == 9:
            kind, flags, number = struct.unpack(">BBI", head[3:])
            yield kind, flags, number, stream.read(int.from_bytes(head[:3], "big"))
