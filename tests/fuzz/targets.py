"""The code that reads callers' bytes. Each target takes any bytes; only an error that callers are told may come out."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from imagevariations.v1 import image_variation_pb2 as pb

from service.api.convert import fields_from_message
from service.api.rest.body import whole_body
from service.api.rest.form import parse_form
from service.api.validation import checked
from service.core.errors import ErrorKind, GatewayError
from service.imaging.inspect import ImageLimits, inspect

Target = Callable[[bytes], None]
BOUNDARY = "a7"
# The statuses with which a socket may answer nonsense: never 500.
FINE = {b"200", b"400", b"401", b"403", b"404", b"405", b"408", b"411", b"413", b"415", b"417", b"426", b"431", b"501"}


@contextlib.contextmanager
def only_told_errors() -> Iterator[None]:
    """A GatewayError that blames the request is right; anything else is a bug."""
    try:
        yield
    except GatewayError as error:
        if error.kind is ErrorKind.INTERNAL:
            raise


def form(data: bytes) -> None:
    """A multipart body; its first line chooses the content type where it begins with ``multipart/``."""
    content_type = f"multipart/form-data; boundary={BOUNDARY}"
    first, separator, rest = data.partition(b"\n")
    if separator and first.startswith(b"multipart/"):
        content_type, data = first.decode("latin-1"), rest
    with only_told_errors():
        checked(parse_form(whole_body(content_type, data)))


def json(data: bytes) -> None:
    """JSON of the typed message, and the same bytes as the message itself."""
    for parse in (_from_json, pb.CreateImageVariationRequest.FromString):
        with only_told_errors(), contextlib.suppress(DecodeError, json_format.ParseError, RecursionError):
            checked(fields_from_message(parse(data)))


def _from_json(data: bytes) -> pb.CreateImageVariationRequest:
    text = data.decode("utf-8", "replace")
    return json_format.Parse(text, pb.CreateImageVariationRequest(), ignore_unknown_fields=True)


def image(data: bytes) -> None:
    """The header of an image file."""
    with only_told_errors():
        inspect(data, limits=ImageLimits())


def send(port: int, data: bytes) -> None:
    """Bytes to a running gateway: it answers with a refusal, or ends the connection.

    Raises:
        AssertionError: It answers that it has failed.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.settimeout(0.3)
        with contextlib.suppress(ConnectionError, TimeoutError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(64)
            if answer.startswith(b"HTTP/1."):
                assert answer.split()[1] in FINE, answer


IN_PROCESS: Mapping[str, Target] = {"form": form, "json": json, "image": image}
