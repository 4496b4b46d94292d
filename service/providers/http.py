"""HTTP requests and responses as values: what translators write and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Purpose(Enum):
    """The purpose of a request, which decides whether it may be repeated.

    SUBMIT starts work that may be billed; POLL asks for a result (idempotent); CANCEL stops the work.
    """

    SUBMIT = "submit"
    POLL = "poll"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class JsonBody:
    """A body sent as application/json."""

    value: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class FormFile:
    """One file part of a multipart form."""

    name: str
    filename: str
    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FormBody:
    """A body sent as multipart/form-data: text fields first, then files."""

    fields: tuple[tuple[str, str], ...]
    files: tuple[FormFile, ...] = ()


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request that a translator wants sent. The executor adds the credential.

    Attributes:
        delay_s: Seconds to wait before sending it (polling).
        cancel: The request that stops the work, sent should the caller go away while this one is waited for.
    """

    method: str
    url: str
    purpose: Purpose = Purpose.SUBMIT
    headers: Mapping[str, str] = field(default_factory=dict)
    body: JsonBody | FormBody | None = None
    delay_s: float = 0.0
    cancel: HttpRequest | None = None


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One response as received. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class SignableRequest:
    """A request as it goes over the wire, for schemes that sign it whole (SigV4).

    Attributes:
        body: A form with a large file comes in pieces that follow each other, so that the file is not held twice.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | tuple[bytes, ...] = field(repr=False)
