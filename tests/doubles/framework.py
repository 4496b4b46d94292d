"""The parts of every vendor's double: operations, the calls they are given and the replies they make.

A double speaks one vendor's wire format strictly: what the real vendor would refuse, it refuses, in the vendor's
own words. It says nothing about sockets, the request log or failures below the level of its own format; those are
the same for all vendors and live in app.py.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Failure(StrEnum):
    """A fault that a double can be told to have. The first group is answered for the vendors; they form the second."""

    OK = "ok"
    UNAUTHENTICATED = "unauthenticated"
    PAYMENT_REQUIRED = "payment_required"
    FORBIDDEN = "forbidden"
    MODEL_GONE = "model_gone"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"
    SLOW = "slow"
    HANG = "hang"
    RESET_BEFORE_HEADERS = "reset_before_headers"
    RESET_MID_BODY = "reset_mid_body"
    CLOSE_MID_BODY = "close_mid_body"
    MALFORMED_JSON = "malformed_json"
    TRUNCATED_JSON = "truncated_json"
    WRONG_CONTENT_TYPE = "wrong_content_type"
    HUGE_BODY = "huge_body"
    # Formed by the vendor's own double, which finds them in ``Call.failure``.
    REFUSAL = "refusal"
    PARTIAL_REFUSAL = "partial_refusal"
    EMPTY_RESULT = "empty_result"
    EXPIRED_URL = "expired_url"


STATUS_OF_FAILURE: Mapping[Failure, int] = {
    Failure.UNAUTHENTICATED: 401,
    Failure.PAYMENT_REQUIRED: 402,
    Failure.FORBIDDEN: 403,
    Failure.MODEL_GONE: 404,
    Failure.RATE_LIMITED: 429,
    Failure.SERVER_ERROR: 500,
    Failure.OVERLOADED: 503,
}

CONTENT_FAILURES = frozenset(
    {Failure.REFUSAL, Failure.PARTIAL_REFUSAL, Failure.EMPTY_RESULT, Failure.EXPIRED_URL},
)


class Hint(StrEnum):
    """The form in which a 429 or 503 says when to come back."""

    NONE = "none"
    RETRY_AFTER = "retry-after"
    RETRY_AFTER_DATE = "retry-after-date"
    RETRY_AFTER_MS = "retry-after-ms"
    RATELIMIT_RESET = "ratelimit-reset"
    RETRY_INFO = "retry-info"
    RETRY_AFTER_BODY = "retry_after_body"


class Purpose(StrEnum):
    """The purpose of a request; a switch applies to one of these, or to any."""

    SUBMIT = "submit"
    POLL = "poll"
    CANCEL = "cancel"
    FILE = "file"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """One file part of a multipart form."""

    name: str
    filename: str
    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart form as it came: text fields and files, each in the order sent."""

    fields: tuple[tuple[str, str], ...] = ()
    files: tuple[UploadedFile, ...] = ()

    def text(self, name: str) -> str | None:
        """The first field of that name, or None."""
        return next((value for field_name, value in self.fields if field_name == name), None)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as it came over the wire.

    Attributes:
        order: Its place among all requests to all doubles, from 0.
        path: Below the vendor, percent-decoded, such as ``/v1/images/edits``.
        query: Parsed; the last value of a repeated name.
        headers: Names in lower case.
        json: The parsed body when it is JSON, else None.
        form: The parsed body when it is multipart, else None.
    """

    order: int
    vendor: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)
    json: Any = field(default=None, repr=False)
    form: Form | None = field(default=None, repr=False)

    @property
    def media_type(self) -> str:
        """The content type without parameters, in lower case; empty when there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: ``json`` unless ``content`` is set."""

    status: int = 200
    json: Any = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return self.content if self.content is not None else json.dumps(self.json).encode()


class RefusedError(Exception):
    """Raised by an operation to answer at once with an error reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"status {reply.status}")
        self.reply = reply


@dataclass(slots=True)
class Job:
    """Work that is polled for. ``polls_left`` answers say that it is not finished yet."""

    identifier: str
    polls_left: int
    answer: Any = None
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One request to one operation, after the credential has been found good.

    Attributes:
        params: The variable parts of the operation's path.
        key: The credential that was presented.
        failure: One of CONTENT_FAILURES, which the operation must form in its vendor's way, or OK.
        base_url: Of this vendor as the client reaches it, without a trailing slash.
        jobs: The vendor's jobs by id; forgotten when the doubles are reset.
        publish: From a file's bytes and media type to the URL it can be fetched from. ``expired`` makes a URL that
            answers 403, as vendors' storage does.
        new_id: A UUID-shaped id, a different one each time and the same ones after a reset.
    """

    request: Recorded
    params: Mapping[str, str]
    key: str
    failure: Failure
    base_url: str
    jobs: dict[str, Job]
    publish: Callable[[bytes, str], str]
    new_id: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method and path of a vendor.

    ``path`` is a Starlette pattern below the vendor: ``/{model:path}/predictions``. ``handler`` may raise RefusedError.
    """

    method: str
    path: str
    handler: Callable[[Call], Awaitable[Reply]]
    purpose: Purpose = Purpose.SUBMIT


def key_in_header(name: str, prefix: str = "") -> Callable[[Recorded], str]:
    """An ``authenticate`` that reads the key from a header, after an exact prefix such as ``Bearer ``."""

    def presented(request: Recorded) -> str:
        value = request.headers.get(name.lower(), "")
        return value[len(prefix) :] if value.startswith(prefix) else ""

    return presented


def requested_model(request: Recorded, params: Mapping[str, str]) -> str:
    """The model that a request names, wherever most vendors put it: path, JSON or form."""
    if "model" in params:
        return params["model"]
    if isinstance(request.json, dict) and isinstance(request.json.get("model"), str):
        return str(request.json["model"])
    return (request.form.text("model") or "") if request.form else ""


@dataclass(frozen=True, slots=True)
class VendorDouble:
    """One vendor, mounted below ``/<name>``.

    Attributes:
        name: As in the catalog; also the first part of every path.
        operations: Tried in order.
        authenticate: The key that a request presents, or an empty string; compared with ``keys`` by app.py.
        error: The vendor's own error reply for a status and, where it takes one, a message.
        model: An example, for the configuration that ``python -m tests.doubles`` prints.
        keys: Keys that are accepted. Empty: two made from the name.
        model_of: The model that a request names, for switches that apply to one model.
        provider: The catalog's section, where it is not ``name``.
        options: Endpoint options that the printed configuration needs.
        key_parts: ``parts`` of the first key in the printed configuration, for schemes that sign.
    """

    name: str
    operations: tuple[Operation, ...]
    authenticate: Callable[[Recorded], str]
    error: Callable[[int, str], Reply]
    model: str
    keys: tuple[str, ...] = ()
    model_of: Callable[[Recorded, Mapping[str, str]], str] = requested_model
    provider: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    key_parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def accepted_keys(self) -> tuple[str, ...]:
        return self.keys or (f"double-key-one-of-{self.name}", f"double-key-two-of-{self.name}")
