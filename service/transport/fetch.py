"""Downloads an image from a URL that someone else chose."""

from __future__ import annotations

import asyncio
import binascii
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

import httpx
import pybase64

from service.core.errors import ErrorKind, GatewayError, invalid
from service.transport.addresses import is_public

_MAX_URL_LENGTH = 8192
_MAX_ADDRESSES_TRIED = 3
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_DEFAULT_PORTS = {"https": 443, "http": 80}
_data_url_head = re.compile(
    r"data:image/[a-z0-9.+-]{1,64}(?:;[a-z0-9-]{1,64}=[a-z0-9.+-]{1,64})*;base64", re.IGNORECASE
)


class ChosenBy(Enum):
    """Who chose the URL, and so whose fault it is when it does not work."""

    CALLER = "caller"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """What a fetch may do.

    Attributes:
        max_bytes: Most bytes of an image.
        timeout_s: Seconds that a fetch may take in all, redirects included.
        max_redirects: Most redirects that are followed; each is checked like the first URL.
        allowed_origins: Origins (``http://127.0.0.1:9000``) that the operator vouches for: for these alone, plain
            http, other ports than 443 and private addresses are allowed. Whoever chooses the URL can then have
            anything there requested, so a policy for callers' URLs should name none.

    Raises:
        ValueError: One of the allowed origins is not an http or https origin.
    """

    max_bytes: int = 50_000_000
    timeout_s: float = 30.0
    max_redirects: int = 3
    allowed_origins: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "allowed_origins", frozenset(map(_normal_origin, self.allowed_origins)))


Resolver = Callable[[str, int], Awaitable[list[str]]]
"""From a host name and a port to its addresses as text, best first; raises OSError when there are none."""


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host as the operating system knows them, in its order of preference."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class _RefusedError(Exception):
    """Why a URL was not fetched. The message completes the sentence "the URL ..."; it never holds the URL."""


class ImageFetcher:
    """Fetches images from hostile URLs. One instance serves the whole process; close it at the end.

    It drives httpx's transport without a client, so that there are no cookies, no environment proxies, no
    netrc and no redirects but those followed here. Every request connects to an address that was checked
    for it: the URL's host is replaced by the address, while the Host header, the TLS server name and the
    name that the certificate is verified against stay those of the URL.

    Args:
        resolver: Turns names into addresses; the operating system's by default.
        ssl_context: Verifies certificates; the public authorities' by default.
    """

    def __init__(self, *, resolver: Resolver = resolve, ssl_context: ssl.SSLContext | None = None) -> None:
        self._resolver = resolver
        # No connection is kept: a kept one belongs to an address, and would be given to the next name at that
        # address although its certificate was verified for this one.
        self._transport = httpx.AsyncHTTPTransport(
            verify=ssl_context or True,
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def fetch_image_url(self, url: str, *, policy: FetchPolicy, chosen_by: ChosenBy) -> bytes:
        """The bytes behind an https or data URL. They are not looked into: ``imaging.inspect`` is next.

        Raises:
            GatewayError: INVALID_REQUEST ``invalid_image_url`` (param ``image_url``) for a URL the caller
                chose, BAD_RESPONSE for one a provider chose. The message names the host at most.
        """
        try:
            if url[:5].lower() == "data:":
                # A whole photo in base64 takes tens of milliseconds.
                return await asyncio.to_thread(_decode_data_url, url, policy.max_bytes)
            async with asyncio.timeout(policy.timeout_s):
                return await self._follow(url, policy)
        except _RefusedError as refusal:
            reason = str(refusal)
        except TimeoutError:
            reason = f"took longer than the {policy.timeout_s:g} seconds that a download may take"
        except (httpx.HTTPError, OSError, ssl.SSLError) as error:
            reason = f"could not be fetched: {_network_fault(error)}"
        if chosen_by is ChosenBy.CALLER:
            raise invalid("image_url", f"The image URL {reason}.")
        raise GatewayError(ErrorKind.BAD_RESPONSE, f"The provider's result is at a URL that {reason}.")

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _follow(self, text: str, policy: FetchPolicy) -> bytes:
        url = _parse(text)
        for _ in range(policy.max_redirects + 1):
            vouched_for = _check(url, policy)
            response = await self._connect(url, await self._addresses(url, vouched_for))
            try:
                if response.status_code not in _REDIRECTS:
                    return await _read(response, policy.max_bytes)
                url = _redirected(url, response)
            finally:
                await response.aclose()
        raise _RefusedError(f"redirects more than {policy.max_redirects} times")

    async def _addresses(self, url: httpx.URL, vouched_for: bool) -> list[str]:
        host = url.raw_host.decode("ascii")
        try:
            addresses = [str(ip_address(host))]
        except ValueError:
            try:
                addresses = await self._resolver(host, _port(url))
            except (OSError, UnicodeError):
                addresses = []
        # One private address among public ones is refused too: which of them is used must not matter. A name
        # that does not exist gets the same answer, so that nobody can list the names inside.
        if not addresses or not (vouched_for or all(map(is_public, addresses))):
            raise _RefusedError("does not lead to a public address")
        return addresses[:_MAX_ADDRESSES_TRIED]

    async def _connect(self, url: httpx.URL, addresses: list[str]) -> httpx.Response:
        for address in addresses[:-1]:
            try:
                return await self._request(url, address)
            except httpx.ConnectError:
                continue
        return await self._request(url, addresses[-1])

    async def _request(self, url: httpx.URL, address: str) -> httpx.Response:
        request = httpx.Request(
            "GET",
            url.copy_with(host=address, fragment=None),
            headers={
                "host": url.netloc.decode("ascii"),
                "accept": "image/*",
                # A compressed answer could be a bomb, and images gain nothing from it.
                "accept-encoding": "identity",
                "connection": "close",
                "user-agent": "image-variations-gateway",
            },
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        return await self._transport.handle_async_request(request)


def _parse(text: str) -> httpx.URL:
    if len(text) > _MAX_URL_LENGTH:
        raise _RefusedError(f"is longer than {_MAX_URL_LENGTH} characters")
    try:
        return httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        raise _RefusedError("is not a valid URL") from None


def _check(url: httpx.URL, policy: FetchPolicy) -> bool:
    """Refuses what no resolving is needed to refuse; returns whether the operator vouches for the origin."""
    if url.scheme not in _DEFAULT_PORTS:
        raise _RefusedError("is not an https or data URL")
    if url.userinfo:
        raise _RefusedError("holds credentials, which are not sent to anyone")
    if not url.host:
        raise _RefusedError("has no host")
    if _origin(url) in policy.allowed_origins:
        return True
    if url.scheme != "https":
        raise _RefusedError("is not an https or data URL")
    if _port(url) != 443:
        raise _RefusedError("names a port other than 443")
    return False


def _redirected(url: httpx.URL, response: httpx.Response) -> httpx.URL:
    location = response.headers.get("location")
    if not location or len(location) > _MAX_URL_LENGTH:
        raise _RefusedError("redirects to nowhere")
    try:
        return url.join(location)
    except (httpx.InvalidURL, ValueError):
        raise _RefusedError("redirects to something that is not a valid URL") from None


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    if response.status_code != 200:
        raise _RefusedError(f"answered with status {response.status_code}")
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise _RefusedError("answered with compressed content, which was not asked for")
    too_large = _RefusedError(f"holds more than the {max_bytes} bytes that an image may have")
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise too_large
    received = bytearray()
    async for chunk in response.aiter_raw():
        received += chunk
        if len(received) > max_bytes:
            raise too_large
    return bytes(received)


def _decode_data_url(url: str, max_bytes: int) -> bytes:
    head, comma, _ = url[:512].partition(",")
    if not comma or not _data_url_head.fullmatch(head):
        raise _RefusedError("is a data URL, but not one of the form data:image/...;base64,...")
    at = len(head) + 1
    if (len(url) - at) // 4 * 3 > max_bytes + 2:
        raise _RefusedError(f"holds more than the {max_bytes} bytes that an image may have")
    try:
        body = pybase64.b64decode(url[at:], validate=True)
    except (binascii.Error, ValueError):
        raise _RefusedError("is a data URL whose base64 is not valid") from None
    if not body:
        raise _RefusedError("is a data URL without data")
    if len(body) > max_bytes:
        raise _RefusedError(f"holds more than the {max_bytes} bytes that an image may have")
    return body


def _network_fault(error: Exception) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "its server's certificate is not valid"
    if isinstance(error, httpx.ConnectError):
        return "its server cannot be reached"
    return "the connection broke off or made no sense"


def _port(url: httpx.URL) -> int:
    return url.port or _DEFAULT_PORTS.get(url.scheme, 0)


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.raw_host.decode('ascii')}:{_port(url)}"


def _normal_origin(text: str) -> str:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL("")
    if url.scheme not in _DEFAULT_PORTS or not url.host or url.userinfo or url.path not in ("", "/") or url.query:
        raise ValueError(f"an allowed origin must look like http://127.0.0.1:9000, not {text!r}")
    return _origin(url)
