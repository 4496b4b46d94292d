"""The HTTP client for provider APIs: httpx's interface over aiohttp's connections.

aiohttp does its work on the event loop itself. A client with threads of its own is woken, and wakes the loop, a dozen
times for each request; each time it waits for the interpreter, and that cost more than all the rest of a request.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, cast

import aiohttp
import httpx
import pybase64
from aiohttp.abc import AbstractResolver, ResolveResult
from isal import isal_zlib
from yarl import URL

from service.transport.certificates import trust_store
from service.transport.connections import connector
from service.transport.own_faults import own_fault
from service.transport.resolving import ConnectorResolver, Resolver, SystemResolver, resolved
from service.transport.sockets import open_socket
from service.transport.way import DIRECT, Proxies, Way

# Held in memory before a connection is told to wait; a picture is a few of these.
_BUFFER_BYTES = 256 << 10
# Some vendors' edges add dozens of headers, a policy of a few KB among them.
_LONGEST_HEADER, _MOST_HEADERS = 32_768, 256
_GZIP_WBITS = 31
# Its type stubs take the class for an instance.
_NotGzip = cast(type[Exception], isal_zlib.error)
# As it is: the signature of a request may cover its URL to the letter. Most requests go to a few.
_parsed = functools.lru_cache(maxsize=256)(functools.partial(URL, encoded=True))


def open_client(
    *,
    connect_timeout_s: float = 10.0,
    idle_timeout_s: float = 45.0,
    ssl_context: ssl.SSLContext | None = None,
    resolver: Resolver | None = None,
) -> httpx.AsyncBaseTransport:
    """A client with a connection pool; one serves the whole process. Call it in an event loop; end with ``aclose()``.

    In httpx's terms it is a transport: what ``httpx.AsyncClient`` would add is what must not happen here. Nothing
    follows redirects (a redirected POST would leave for a host nobody vouched for), keeps cookies (they would
    travel from one caller's request to another's), or reads environment variables. TLS is verified. Time limits of
    whole requests are the caller's. Bodies in gzip are unpacked, piece by piece.

    A request may say how it goes out: ``extensions={"way": Way(…)}``.

    A host's addresses are tried in a staggered race (RFC 8305), IPv4 and IPv6 in turn, so that one that is dead costs a
    quarter of a second. A host that vanishes in the middle of a call breaks its connection within a minute.

    Args:
        connect_timeout_s: Seconds for name resolution, TCP and TLS together.
        idle_timeout_s: Seconds after which an unused connection is closed: before servers do so, which commonly
            wait a minute, or a request could meet the other side's goodbye.
        ssl_context: Verifies certificates; by default ``trust_store()``.
        resolver: By default a ``SystemResolver`` of its own.
    """
    return _AiohttpTransport(
        _session(
            connect_timeout_s,
            ssl=ssl_context or trust_store(),
            resolver=ConnectorResolver(resolver or SystemResolver()),
            keepalive_timeout=idle_timeout_s,
        )
    )


def open_pinned_client(
    *,
    connect_timeout_s: float = 10.0,
    ssl_context: ssl.SSLContext | None = None,
    proxies: Proxies | None = None,
) -> httpx.AsyncBaseTransport:
    """A client like ``open_client``'s for hosts that nobody vouches for.

    It connects only to the addresses that a request brings along (``extensions={"addresses": ["192.0.2.1", …]}``); the
    Host header, the TLS server name and the name that the certificate is verified against stay those of the URL. No
    connection is kept: a kept one belongs to an address, and would be given to the next name at that address although
    its certificate was verified for this one. Bodies stay as they come.

    Through a proxy it is the same: the proxy is told an address, never the name, so that it cannot be led elsewhere.
    """
    pins = _Pins(SystemResolver())
    return _PinnedTransport(
        _session(
            connect_timeout_s,
            ssl=ssl_context or trust_store(),
            resolver=pins,
            force_close=True,
            use_dns_cache=False,
        ),
        pins,
        proxies or Proxies(),
    )


def _session(connect_timeout_s: float, **connections: Any) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector(limit=0, socket_factory=open_socket, **connections),
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
        auto_decompress=False,
        read_bufsize=_BUFFER_BYTES,
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
        max_headers=_MOST_HEADERS,
        middlewares=(_once,),
    )


class OutOfResourcesError(httpx.NetworkError):
    """This process lacks what a connection needs. The message is a noun: ``own_faults.own_fault``.

    Attributes:
        sent: Whether the request may have reached the other side.
    """

    def __init__(self, noun: str, *, sent: bool) -> None:
        super().__init__(noun)
        self.sent = sent


class _AiohttpTransport(httpx.AsyncBaseTransport):
    """Raises httpx's exceptions: ConnectError, ConnectTimeout and UnsupportedProtocol only where nothing was sent.

    They hold no more than a name of what aiohttp raised, whose exceptions quote URLs and headers, keys included.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return _answer(
            await self._sent(request, _parsed(str(request.url)), way=request.extensions.get("way", DIRECT)),
            unpacks=True,
        )

    async def aclose(self) -> None:
        await self._session.close()

    async def _sent(
        self, request: httpx.Request, url: URL, *, way: Way, server_hostname: str | None = None
    ) -> aiohttp.ClientResponse:
        stream = request.stream
        proxy, proxy_headers = _proxy(way.proxies.for_url(str(request.url)))
        try:
            return await self._session.request(
                request.method,
                url,
                headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw],
                data=(b"".join(stream) or None) if isinstance(stream, httpx.ByteStream) else stream,
                allow_redirects=False,
                server_hostname=server_hostname,
                ssl=way.ssl_context or True,
                proxy=proxy,
                proxy_headers=proxy_headers,
            )
        except (aiohttp.ClientError, ValueError) as error:
            # All that comes after the request's making has gone through ``_once``.
            failure = httpx.UnsupportedProtocol(type(error).__name__)
        raise failure


class _Pins(AbstractResolver):
    """The addresses of the requests under way, each under a host name made up for it.

    aiohttp never sees the URL's own host: what two parsers make of a hostile one may differ.
    """

    def __init__(self, others: Resolver) -> None:
        """``others`` resolves every other host: a proxy's."""
        self._others = others
        self._addresses: dict[str, Sequence[str]] = {}
        self._numbers = itertools.count()

    @contextlib.contextmanager
    def pinned(self, addresses: Sequence[str]) -> Iterator[str]:
        """A host name that stands for these addresses within the block."""
        name = f"{next(self._numbers)}.invalid"
        self._addresses[name] = addresses
        try:
            yield name
        finally:
            del self._addresses[name]

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family  # The connector takes either.
        addresses = self._addresses.get(host) or await self._others(host, port)
        return [resolved(host, port, address) for address in addresses]

    async def close(self) -> None:
        pass


class _PinnedTransport(_AiohttpTransport):
    def __init__(self, session: aiohttp.ClientSession, pins: _Pins, proxies: Proxies) -> None:
        super().__init__(session)
        self._pins = pins
        self._way = Way(proxies)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        addresses: Sequence[str] = request.extensions["addresses"]
        if self._way.proxies.for_url(str(request.url)):
            # A proxy tries one. Those that reach the other protocol's internet are fewer.
            address = min(addresses, key=lambda each: ":" in each)
            return await self._answered(request, f"[{address}]" if ":" in address else address)
        with self._pins.pinned(addresses) as name:
            return await self._answered(request, name)

    async def _answered(self, request: httpx.Request, host: str) -> httpx.Response:
        url = request.url
        port = "" if url.port is None else f":{url.port}"
        pinned = URL(f"{url.scheme}://{host}{port}{url.raw_path.decode('ascii')}", encoded=True)
        server_hostname = url.raw_host.decode("ascii")
        return _answer(await self._sent(request, pinned, way=self._way, server_hostname=server_hostname), unpacks=False)


@functools.lru_cache(maxsize=16)
def _proxy(text: str) -> tuple[URL | None, Mapping[str, str] | None]:
    """A proxy's URL without its credentials, and the header that carries them."""
    if not text:
        return None, None
    url = URL(text)
    if url.user is None:
        return url, None
    credentials = pybase64.b64encode_as_string(f"{url.user}:{url.password or ''}".encode())
    return url.with_user(None), {"Proxy-Authorization": f"Basic {credentials}"}


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Sends a request; its failure leaves as one of httpx's, so that aiohttp does not send it again by itself."""
    try:
        return await handler(request)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        failure = _as_httpx(error)
    raise failure


def _answer(response: aiohttp.ClientResponse, *, unpacks: bool) -> httpx.Response:
    headers = list(response.raw_headers)
    codings = [header for header in headers if header[0].lower() == b"content-encoding"]
    is_gzip = unpacks and len(codings) == 1 and codings[0][1].strip().lower() == b"gzip"
    if is_gzip:
        headers.remove(codings[0])
    return httpx.Response(response.status, headers=headers, stream=_Body(response, is_gzip=is_gzip))


class _Body(httpx.AsyncByteStream):
    """The body of an answer, unpacked, in pieces as they come."""

    def __init__(self, response: aiohttp.ClientResponse, *, is_gzip: bool) -> None:
        self._response = response
        self._is_gzip = is_gzip

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = self._response.content.iter_any()
        try:
            async for piece in _unpacked(pieces) if self._is_gzip else pieces:
                yield piece
            return
        except (aiohttp.ClientError, OSError, _NotGzip) as error:
            failure = _as_httpx(error)
        raise failure

    async def aclose(self) -> None:
        # A connection whose answer was read to its end is back in the pool by now.
        self._response.close()


async def _unpacked(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A body in gzip (RFC 1952), in pieces of at most ``_BUFFER_BYTES``, so that little cannot become much at once."""
    unpacker, complete = isal_zlib.decompressobj(_GZIP_WBITS), True
    async for packed in pieces:
        while packed:
            if unpacker.eof:
                unpacker = isal_zlib.decompressobj(_GZIP_WBITS)
            yield unpacker.decompress(packed, _BUFFER_BYTES)
            packed = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            complete = unpacker.eof
    if not complete:
        raise _NotGzip("incomplete")


def _as_httpx(error: Exception) -> httpx.HTTPError:
    """The exception of httpx that says the same. The order matters: aiohttp's are subclasses of one another."""
    name = type(error).__name__
    connecting = isinstance(error, aiohttp.ClientConnectorError)
    lacking = own_fault(error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error)
    if lacking:
        return OutOfResourcesError(lacking, sent=not connecting)
    match error:
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout(name)
        case aiohttp.ClientHttpProxyError():
            # The proxy's answer to CONNECT; the request itself has not been sent.
            return httpx.ProxyError(str(error.status))
        case aiohttp.ClientConnectorError():
            return httpx.ConnectError(name)
        case aiohttp.ServerTimeoutError() | TimeoutError():
            return httpx.ReadTimeout(name)
        case aiohttp.ClientPayloadError() if "ConnectionResetError" in str(error):
            # Only the text tells a broken connection from one that was closed early.
            return httpx.ReadError(name)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return httpx.RemoteProtocolError(name)
        case aiohttp.ClientError() | OSError():
            return httpx.NetworkError(name)
        case _:
            return httpx.RemoteProtocolError(name)
