"""Request bodies as they go over the wire."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from service.core.errors import ErrorKind, GatewayError
from service.providers.http import FormBody, JsonBody

MOST_BYTES_JOINED = 500_000
"""Up to here one piece is quicker to send than several, and holds nobody up."""


@dataclass(frozen=True, slots=True)
class EncodedBody:
    """The bytes of a body, in pieces where they are many, and the content-type header that describes them."""

    content: bytes | tuple[bytes, ...] = field(repr=False)
    content_type: str


def encode_body(body: JsonBody | FormBody) -> EncodedBody:
    """The body as bytes.

    Raises:
        GatewayError: INVALID_REQUEST (param ``provider_options``) when a value has no JSON form. All other values
            come from the translators, so it is the caller's options that hold it.
    """
    if isinstance(body, JsonBody):
        return EncodedBody(_json(body.value), "application/json")
    boundary = secrets.token_hex(16)
    return EncodedBody(_form(body, boundary), f"multipart/form-data; boundary={boundary}")


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=_plain)
    except orjson.JSONEncodeError as error:
        raise GatewayError(
            ErrorKind.INVALID_REQUEST,
            f"The request cannot be written as JSON: {error}.",
            code="invalid_provider_options",
            param="provider_options",
            may_have_run=False,
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} has no JSON form")


def _form(body: FormBody, boundary: str) -> bytes | tuple[bytes, ...]:
    """multipart/form-data (RFC 7578) with names escaped as browsers do it (WHATWG HTML, section 4.10.21.8).

    A boundary of 128 random bits cannot be foreseen, so no value can be made to contain it.
    """
    pieces: list[bytes] = []
    for name, value in body.fields:
        pieces.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{_escaped(name)}"\r\n\r\n'.encode())
        pieces.append(value.encode("utf-8", "replace"))
        pieces.append(b"\r\n")
    for file in body.files:
        pieces.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{_escaped(file.name)}"; '
            f'filename="{_escaped(file.filename)}"\r\nContent-Type: {_escaped(file.media_type)}\r\n\r\n'.encode()
        )
        pieces.append(file.data)
        pieces.append(b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    return b"".join(pieces) if sum(map(len, pieces)) <= MOST_BYTES_JOINED else tuple(pieces)


def _escaped(text: str) -> str:
    """Without the characters that would end the parameter or the header line. Lone surrogates are replaced."""
    if text.isascii() and text.isprintable() and '"' not in text:
        return text
    clean = text.encode("utf-8", "replace").decode()
    return clean.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
