"""The HTTP client for provider APIs: httpx's interface over aiohttp's connections.

aiohttp does its work on the event loop itself. A client with threads of its own is woken, and wakes the loop, a dozen
times for each request; each time it waits for the interpreter, and that cost more than all the rest of a request.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncIterator

import aiohttp
import httpx
from yarl import URL

# Held in memory before a connection is told to wait; a picture is a few of these.
_READ_BUFFER_BYTES = 256 << 10
# What aiohttp unpacks. Only gzip is offered; whoever sends another coding unasked has it refused by the reader.
_UNPACKED = frozenset({b"gzip", b"x-gzip", b"deflate"})
# As it is: the signature of a request may cover its URL to the letter. Most requests go to a few.
_parsed = functools.lru_cache(maxsize=256)(functools.partial(URL, encoded=True))


def open_client(
    *,
    connect_timeout_s: float = 10.0,
    idle_timeout_s: float = 45.0,
    ssl_context: ssl.SSLContext | None = None,
) -> httpx.AsyncBaseTransport:
    """A client with a connection pool; one serves the whole process. Call it in an event loop; end with ``aclose()``.

    In httpx's terms it is a transport: what ``httpx.AsyncClient`` would add is what must not happen here. Nothing
    follows redirects (a redirected POST would leave for a host nobody vouched for), keeps cookies (they would
    travel from one caller's request to another's), or reads environment variables. TLS is verified. Time limits of
    whole requests are the caller's.

    Args:
        connect_timeout_s: Seconds for name resolution, TCP and TLS together.
        idle_timeout_s: Seconds after which an unused connection is closed: before servers do so, which commonly
            wait a minute, or a request could meet the other side's goodbye.
        ssl_context: Verifies certificates; by default against the system's authorities and certifi's.
    """
    if ssl_context is None:
        ssl_context = httpx.create_ssl_context(trust_env=False)
        ssl_context.load_default_certs()
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=ssl_context, limit=0, keepalive_timeout=idle_timeout_s),
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
        read_bufsize=_READ_BUFFER_BYTES,
        middlewares=(_once,),
    )
    return _AiohttpTransport(session)


class _AiohttpTransport(httpx.AsyncBaseTransport):
    """Raises httpx's exceptions, ConnectError and ConnectTimeout only where nothing of the request was sent."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        stream = request.stream
        try:
            response = await self._session.request(
                request.method,
                _parsed(str(request.url)),
                headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw],
                data=(b"".join(stream) or None) if isinstance(stream, httpx.ByteStream) else stream,
                allow_redirects=False,
            )
        except ValueError as error:
            # A URL or a header that cannot be sent; aiohttp's InvalidURL is one too.
            raise httpx.UnsupportedProtocol(type(error).__name__) from None
        headers = [
            (name, value)
            for name, value in response.raw_headers
            if name.lower() != b"content-encoding" or value.strip().lower() not in _UNPACKED
        ]
        return httpx.Response(response.status, headers=headers, stream=_Body(response))

    async def aclose(self) -> None:
        await self._session.close()


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Sends a request; its failure leaves as one of httpx's, so that aiohttp does not send it again by itself."""
    try:
        return await handler(request)
    except (aiohttp.ClientError, OSError) as error:
        raise _as_httpx(error) from error


class _Body(httpx.AsyncByteStream):
    """The body of an answer, unpacked, in pieces as they come."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except (aiohttp.ClientError, OSError) as error:
            raise _as_httpx(error) from error

    async def aclose(self) -> None:
        # A connection whose answer was read to its end is back in the pool by now.
        self._response.close()


def _as_httpx(error: Exception) -> httpx.HTTPError:
    """The exception of httpx that says the same. The order matters: aiohttp's are subclasses of one another.

    Of the message only the kind is kept: aiohttp's may quote the URL.
    """
    message = type(error).__name__
    match error:
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout(message)
        case aiohttp.ClientConnectorError():
            return httpx.ConnectError(message)
        case aiohttp.ServerTimeoutError() | TimeoutError():
            return httpx.ReadTimeout(message)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientResponseError():
            return httpx.RemoteProtocolError(message)
        case aiohttp.ClientPayloadError():
            # That the connection broke, and was not just closed early, stands nowhere but in the text.
            broke = "ConnectionResetError" in str(error)
            return httpx.ReadError(message) if broke else httpx.RemoteProtocolError(message)
        case _:
            return httpx.NetworkError(message)
