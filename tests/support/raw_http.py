"""HTTP by hand: requests as bytes over plain sockets, for clients that no HTTP library would be."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

VARIATIONS = "/v1/images/variations"
BOUNDARY = "a7a7a7a7"
PATIENCE_S = 20.0


@dataclass(frozen=True)
class RawAnswer:
    """An answer as it came: status, headers by lower-case name, and the body without chunks' lengths."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error of the envelope, after a look at its shape."""
        document = json.loads(self.body)
        assert set(document) == {"error"}, self.body[:500]
        error: dict[str, Any] = document["error"]
        assert set(error) == {"message", "type", "code", "param"}
        assert len(error["message"]) > 10, error
        return error


def form_body(image: bytes, **fields: str) -> bytes:
    """A multipart body with an image and further fields."""
    parts = [(f'name="{name}"', value.encode()) for name, value in fields.items()]
    parts.append(('name="image"; filename="a.png"', image))
    text = b"".join(
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + value + b"\r\n"
        for disposition, value in parts
    )
    return text + f"--{BOUNDARY}--\r\n".encode()


def request_head(
    path: str, *, method: str = "POST", version: str = "1.1", headers: Mapping[str, str] | None = None
) -> bytes:
    """The head of a request with these headers and no other but ``host``."""
    lines = [f"{method} {path} HTTP/{version}", "host: gateway.test"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def form_request(
    image: bytes, *, path: str = VARIATIONS, headers: Mapping[str, str] | None = None, **fields: str
) -> bytes:
    """A whole request for variations, as a form."""
    body = form_body(image, **fields)
    content = {"content-type": f"multipart/form-data; boundary={BOUNDARY}", "content-length": str(len(body))}
    return request_head(path, headers={**content, **(headers or {})}) + body


def connected(url: str, *, receive_buffer: int | None = None) -> socket.socket:
    """A connection to the gateway at ``url``; a small ``receive_buffer`` (bytes) makes an unread answer stop early."""
    address = urlsplit(url)
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(PATIENCE_S)
    connection.connect((address.hostname, address.port))
    return connection


def exchange(url: str, request: bytes) -> RawAnswer:
    """Sends bytes on a connection of their own and reads one answer."""
    with contextlib.closing(connected(url)) as connection:
        with contextlib.suppress(ConnectionError):
            # A refusal may come, and the connection end, before all is sent.
            connection.sendall(request)
        return read_answer(connection)


def read_answer(connection: socket.socket) -> RawAnswer:
    """Reads one answer; a body without length goes on to the end of the connection."""
    with connection.makefile("rb") as stream:
        status_line = stream.readline()
        if not status_line:
            raise ConnectionError("the connection ended without an answer")
        status = int(status_line.split()[1])
        headers: dict[str, str] = {}
        while (line := stream.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if "chunked" in headers.get("transfer-encoding", ""):
            body = b"".join(_chunks(stream))
        elif "content-length" in headers:
            body = stream.read(int(headers["content-length"]))
        else:
            body = stream.read()
    return RawAnswer(status, headers, body)


def _chunks(stream: Any) -> Iterator[bytes]:
    while (length := int(stream.readline().split(b";")[0], 16)) > 0:
        yield stream.read(length)
        stream.readline()
    stream.readline()


@contextlib.contextmanager
def many_connections(url: str, count: int, *, receive_buffer: int | None = None) -> Iterator[list[socket.socket]]:
    """Connections that are closed together in the end."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(contextlib.closing(connected(url, receive_buffer=receive_buffer))) for _ in range(count)
        ]
