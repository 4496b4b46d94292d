"""One HTTP request sent, one response read: the socket's failures as the taxonomy's."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime

import httpx

from service.core.errors import ErrorKind, GatewayError
from service.providers.base import Credential, Endpoint
from service.providers.http import HttpRequest, HttpResponse, Purpose, SignableRequest
from service.transport.client import OutOfResourcesError
from service.transport.encoding import MOST_BYTES_JOINED, encode_body
from service.transport.own_faults import fault_log
from service.transport.trust import is_trusted
from service.transport.upstream import Upstream
from service.transport.way import DIRECT, Way

_OUR_HEADERS = {"accept": "*/*", "accept-encoding": "gzip", "user-agent": "image-variations-gateway"}
# Most requests go to a few URLs, and parsing one takes longer than building the rest of a request.
_parsed = functools.lru_cache(maxsize=256)(httpx.URL)
_LONGEST_PIECE = 256_000
# An error body is only read for its message; this is plenty.
_LONGEST_ERROR_BODY = 1_000_000


def signed_request(
    request: HttpRequest, upstream: Upstream, credential: Credential | None, now: datetime
) -> SignableRequest:
    """The request as it goes over the wire, with the operator's headers and the credential's.

    Raises:
        GatewayError: BAD_RESPONSE when a URL that the provider handed out lies where its credential must not go;
            INTERNAL when it is our own URL that does; INVALID_REQUEST when the caller's options have no JSON form;
            UPSTREAM_AUTH when the key cannot be put into a header.
    """
    require_trusted(request, upstream.endpoint)
    # The translator's own headers win over the operator's.
    headers = {name.lower(): value for name, value in (*upstream.headers.items(), *request.headers.items())}
    content: bytes | tuple[bytes, ...] = b""
    if request.body is not None:
        encoded = encode_body(request.body)
        content = encoded.content
        headers["content-type"] = encoded.content_type
    unsigned = SignableRequest(request.method, request.url, headers, content)
    if credential is None:
        return unsigned
    authorization = upstream.translator.authorization(unsigned, credential, upstream.endpoint, now)
    if not all(_fits_a_header(value) for value in authorization.values()):
        raise GatewayError(
            ErrorKind.UPSTREAM_AUTH,
            f"The key {credential.name!r} holds characters that no HTTP header can carry.",
            code="malformed_key",
            may_have_run=False,
        )
    signed = headers | {name.lower(): value for name, value in authorization.items()}
    return SignableRequest(request.method, request.url, signed, content)


def require_trusted(request: HttpRequest, endpoint: Endpoint) -> None:
    """Refuses a URL that the credential must not be sent to.

    Raises:
        GatewayError: BAD_RESPONSE for a URL that the provider handed out, INTERNAL for one of ours.
    """
    if is_trusted(request.url, endpoint):
        return
    if request.purpose is Purpose.SUBMIT:
        message = f"A request for {endpoint.provider} would leave its base_url and trusted_hosts."
        raise GatewayError(ErrorKind.INTERNAL, message, may_have_run=False)
    raise GatewayError(
        ErrorKind.BAD_RESPONSE,
        "The provider named a URL outside its base_url and trusted_hosts; the key was not sent there.",
    )


async def send(
    client: httpx.AsyncBaseTransport,
    request: SignableRequest,
    *,
    timeout_s: float,
    max_response_bytes: int,
    way: Way = DIRECT,
) -> HttpResponse:
    """The response, whatever its status, read whole. Error bodies are cut off after a megabyte.

    Raises:
        GatewayError: UNAVAILABLE or BAD_RESPONSE; ``may_have_run`` is False only where the connection never came
            about or the server says that it did not look at the request.
        TimeoutError: It took longer than ``timeout_s``. The connection is closed; the work may go on.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchanged(client, request, max_response_bytes, way)
    except httpx.HTTPError as error:
        raise _translated(error) from error


async def _exchanged(client: httpx.AsyncBaseTransport, request: SignableRequest, most: int, way: Way) -> HttpResponse:
    headers, body = {**_OUR_HEADERS, **request.headers}, request.body
    pieces = body if isinstance(body, tuple) else (body,)
    length = sum(map(len, pieces))
    if length:
        headers["content-length"] = str(length)
    response = await client.handle_async_request(
        httpx.Request(
            request.method,
            _parsed(request.url),
            headers=headers,
            # Given as a stream, nothing is added to the headers.
            stream=httpx.ByteStream(b"".join(pieces)) if length <= MOST_BYTES_JOINED else _Pieces(pieces),
            extensions={"way": way},
        )
    )
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    async with contextlib.aclosing(stream):
        succeeded = response.is_success
        received = _joined(response.headers.raw)
        try:
            body = await _body(received, stream, most if succeeded else _LONGEST_ERROR_BODY, cut=not succeeded)
        except (httpx.HTTPError, GatewayError):
            if succeeded:
                raise
            body = b""  # The status alone says what went wrong.
        return HttpResponse(response.status_code, received, body)


class _Pieces(httpx.AsyncByteStream):
    """A body in pieces so short that encrypting one holds nobody up; others have their turn between them."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            for start in range(0, len(piece), _LONGEST_PIECE):
                yield piece[start : start + _LONGEST_PIECE]
                # While the socket takes all that it is given, nothing else would wait before the body's end.
                await asyncio.sleep(0)


async def _body(headers: Mapping[str, str], stream: httpx.AsyncByteStream, most: int, *, cut: bool) -> bytes:
    """The body, decompressed (by the transport, in pieces, so a small answer cannot blow up in one go).

    Raises:
        GatewayError: BAD_RESPONSE when it is longer than ``most`` and may not be cut, or in an unknown coding.
    """
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise GatewayError(ErrorKind.BAD_RESPONSE, "The provider's answer is in a content coding that was not offered.")
    pieces: list[bytes] = []
    length = 0
    async for piece in stream:
        pieces.append(piece)
        length += len(piece)
        if length > most:
            if cut:
                break
            raise GatewayError(ErrorKind.BAD_RESPONSE, f"The provider's answer is longer than {most} bytes.")
    return b"".join(pieces)[:most]


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Names in lower case; the values of a name that repeats are joined by commas."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _translated(error: httpx.HTTPError) -> GatewayError:
    """The error that a failure of the connection means. Messages are ours: the library's may quote the request."""
    match error:
        case OutOfResourcesError():
            fault_log.tell(str(error))
            message = f"This service has run out of {error}; the provider is not to blame."
            return GatewayError(ErrorKind.OUT_OF_RESOURCES, message, may_have_run=error.sent)
        case httpx.ConnectError() | httpx.ConnectTimeout():
            why = "in time" if isinstance(error, httpx.ConnectTimeout) else "at all"
            return GatewayError(
                ErrorKind.UNAVAILABLE, f"The provider could not be connected to {why}.", may_have_run=False
            )
        case httpx.TimeoutException():
            return GatewayError(ErrorKind.TIMEOUT, "The provider did not answer in time.")
        case httpx.ProxyError():
            message = f"The proxy did not let the request through: it answered {error}."
            return GatewayError(ErrorKind.UNAVAILABLE, message, may_have_run=False)
        case httpx.NetworkError():
            return GatewayError(ErrorKind.UNAVAILABLE, "The connection to the provider broke.")
        case httpx.RemoteProtocolError():
            return GatewayError(ErrorKind.BAD_RESPONSE, "The provider's answer broke off or is not HTTP.")
        case _:
            message = "The request to the provider could not be sent."
            return GatewayError(ErrorKind.INTERNAL, message, may_have_run=False)


def _fits_a_header(value: str) -> bool:
    return value.isascii() and value.isprintable()
