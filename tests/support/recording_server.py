"""A server that writes down what a vendor's SDK sends, and answers whatever it is told to."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from service.providers.http import HttpResponse


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request as it came over the wire. ``target`` is the raw path and query; header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = field(repr=False)


class RecordingServer:
    """On 127.0.0.1, in a thread of its own. Use it in a ``with`` statement.

    Attributes:
        requests: In the order in which they came.
    """

    def __init__(self, answer: HttpResponse) -> None:
        self.requests: list[RecordedRequest] = []
        recorded = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                recorded.append(RecordedRequest(self.command, self.path, headers, body))
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_PUT = _answer  # noqa: N815  # the base class looks for these names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
                """Keeps the output of the tests clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> RecordingServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def form_parts(content_type: str, body: bytes) -> list[tuple[str, str, str, bytes]]:
    """The parts of a multipart form as (name, filename, media type, bytes), in the order sent."""
    message = BytesParser(policy=HTTP).parsebytes(f"content-type: {content_type}\r\n\r\n".encode() + body)
    return [_part(part) for part in message.walk() if not part.is_multipart()]


def _part(part: Message) -> tuple[str, str, str, bytes]:
    name = part.get_param("name", "", header="content-disposition")
    payload = part.get_payload(decode=True)
    media_type = part.get_content_type() if part["content-type"] else ""
    return (str(name), part.get_filename() or "", media_type, payload if isinstance(payload, bytes) else b"")
