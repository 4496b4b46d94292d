"""Downloads an image from a URL that someone else chose."""

from __future__ import annotations

import asyncio
import binascii
import itertools
import re
import ssl
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

import httpx
import pybase64

from service.core.errors import ErrorKind, GatewayError, invalid
from service.transport.addresses import is_public
from service.transport.client import OutOfResourcesError, open_pinned_client
from service.transport.own_faults import fault_log, own_fault
from service.transport.resolving import Resolver
from service.transport.way import Proxies

_MAX_URL_LENGTH = 8192
_MAX_ADDRESSES_TRIED = 4
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
# Too early, or too much at once.
_PASSING = frozenset((408, 425, 429))
_DEFAULT_PORTS = {"https": 443, "http": 80}
_host_name = re.compile(r"(?=.{1,254}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_data_url_head = re.compile(
    r"data:image/[a-z0-9.+-]{1,64}(?:;[a-z0-9-]{1,64}=[a-z0-9.+-]{1,64})*;base64", re.IGNORECASE
)


class ChosenBy(Enum):
    """The party that chose the URL, and so is at fault when it does not work."""

    CALLER = "caller"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """The limits of a fetch.

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


class _RefusedError(Exception):
    """Why a URL was not fetched. The message completes the sentence "the URL ..."; it never holds the URL.

    ``passing``: it may work later.
    """

    def __init__(self, why: str, *, passing: bool = False) -> None:
        super().__init__(why)
        self.passing = passing


class ImageFetcher:
    """Fetches images from hostile URLs. One instance serves the whole process; close it at the end.

    Every request connects to addresses that were checked for it, with no cookies, no environment proxies, no netrc
    and no redirects but those followed here.

    Args:
        resolver: Turns names into addresses. Whoever chooses the URLs can keep it busy, so share it with nobody else.
        ssl_context: Verifies certificates; ``trust_store()`` by default.
        connect_timeout_s: Seconds for connecting, TLS included.
        proxies: The way out. Names are resolved and checked here all the same, and a proxy is told the address: it has
            to allow connections to addresses, and this process has to be able to resolve public names.
    """

    def __init__(
        self,
        *,
        resolver: Resolver,
        ssl_context: ssl.SSLContext | None = None,
        connect_timeout_s: float = 10.0,
        proxies: Proxies | None = None,
    ) -> None:
        self._resolver = resolver
        self._client = open_pinned_client(connect_timeout_s=connect_timeout_s, ssl_context=ssl_context, proxies=proxies)

    async def fetch_image_url(self, url: str, *, policy: FetchPolicy, chosen_by: ChosenBy) -> bytes:
        """The bytes behind an https or data URL. They are not looked into: ``imaging.inspect`` is next.

        Raises:
            GatewayError: INVALID_REQUEST ``invalid_image_url`` (param ``image_url``) for a URL the caller
                chose; for one a provider chose UNAVAILABLE where it may work later, otherwise BAD_RESPONSE;
                OUT_OF_RESOURCES where that is what we are. The message never holds the URL.
        """
        try:
            if url[:5].lower() == "data:":
                # A whole photo in base64 takes tens of milliseconds.
                return await asyncio.to_thread(_decode_data_url, url, policy.max_bytes)
            async with asyncio.timeout(policy.timeout_s):
                return await self._follow(url, policy)
        except _RefusedError as refusal:
            reason, passing = str(refusal), refusal.passing
        except TimeoutError:
            reason, passing = f"took longer than the {policy.timeout_s:g} seconds that a download may take", False
        except (httpx.HTTPError, OSError) as error:
            lacking = str(error) if isinstance(error, OutOfResourcesError) else own_fault(error)
            if lacking:
                raise _out_of_resources(lacking) from None
            reason, passing = (
                f"could not be fetched: {_network_fault(error)}",
                not isinstance(error, httpx.ConnectError),
            )
        if chosen_by is ChosenBy.CALLER:
            raise invalid("image_url", f"The image URL {reason}.")
        kind = ErrorKind.UNAVAILABLE if passing else ErrorKind.BAD_RESPONSE
        raise GatewayError(kind, f"The provider's result is at a URL that {reason}.")

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _follow(self, text: str, policy: FetchPolicy) -> bytes:
        url = _parse(text)
        for _ in range(policy.max_redirects + 1):
            vouched_for = _check(url, policy)
            response = await self._request(url, await self._addresses(url, vouched_for))
            try:
                if response.status_code not in _REDIRECTS:
                    return await _read(response, policy.max_bytes)
                url = _redirected(url, response)
            finally:
                await response.aclose()
        raise _RefusedError(f"redirects more than {policy.max_redirects} times")

    async def _addresses(self, url: httpx.URL, vouched_for: bool) -> list[str]:
        host = _host(url)
        try:
            addresses = [str(ip_address(host))]
        except ValueError:
            addresses = await self._looked_up(host, _port(url))
        # One private address among public ones is refused too: which of them is used must not matter. A name
        # that does not exist gets the same answer, so that nobody can list the names inside.
        if not addresses or not (vouched_for or all(map(is_public, addresses))):
            raise _RefusedError("does not lead to a public address")
        return _in_turn(addresses)[:_MAX_ADDRESSES_TRIED]

    async def _looked_up(self, host: str, port: int) -> list[str]:
        try:
            return await self._resolver(host, port)
        except TimeoutError:
            raise _RefusedError("names a host that could not be looked up in time", passing=True) from None
        except OSError as error:
            if own_fault(error):
                raise
            return []

    async def _request(self, url: httpx.URL, addresses: list[str]) -> httpx.Response:
        request = httpx.Request(
            "GET",
            url.copy_with(fragment=None),
            headers={
                "host": url.netloc.decode("ascii"),
                "accept": "image/*",
                # A compressed answer could be a bomb, and images gain nothing from it.
                "accept-encoding": "identity",
                "connection": "close",
                "user-agent": "image-variations-gateway",
            },
            extensions={"addresses": addresses},
        )
        return await self._client.handle_async_request(request)


def _in_turn(addresses: list[str]) -> list[str]:
    """The addresses with those of the two families in turn, so that a few of them hold some of each."""
    first = ":" in addresses[0]
    same = [address for address in addresses if (":" in address) is first]
    other = [address for address in addresses if (":" in address) is not first]
    return [address for pair in itertools.zip_longest(same, other) for address in pair if address is not None]


def _parse(text: str) -> httpx.URL:
    if len(text) > _MAX_URL_LENGTH:
        raise _RefusedError(f"is longer than {_MAX_URL_LENGTH} characters")
    try:
        return httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        raise _RefusedError("is not a valid URL") from None


def _host(url: httpx.URL) -> str:
    """The host in ASCII. ``httpx.URL.host`` would decode it, and fails for labels such as ``xn--``."""
    return url.raw_host.decode("ascii")


def _check(url: httpx.URL, policy: FetchPolicy) -> bool:
    """Refuses what no resolving is needed to refuse; returns whether the operator vouches for the origin."""
    if url.scheme not in _DEFAULT_PORTS:
        raise _RefusedError("is not an https or data URL")
    if url.userinfo:
        raise _RefusedError("holds credentials, which are not sent to anyone")
    host = _host(url)
    if not host:
        raise _RefusedError("has no host")
    if not (_host_name.fullmatch(host) or _is_address(host)):
        raise _RefusedError("names a host that is neither a name nor an address")
    if _origin(url) in policy.allowed_origins:
        return True
    if url.scheme != "https":
        raise _RefusedError("is not an https or data URL")
    if _port(url) != 443:
        raise _RefusedError("names a port other than 443")
    return False


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


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
        passing = response.status_code >= 500 or response.status_code in _PASSING
        raise _RefusedError(f"answered with status {response.status_code}", passing=passing)
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
    # The client's exceptions hold the name of the library's.
    if "Certificate" in str(error):
        return "its server's certificate is not valid"
    if isinstance(error, httpx.ProxyError):
        return f"the proxy did not let the request through, it answered {error}"
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "its server cannot be reached"
    return "the connection broke off or made no sense"


def _out_of_resources(noun: str) -> GatewayError:
    fault_log.tell(noun)
    message = f"This service has run out of {noun}, so that the image could not be fetched."
    return GatewayError(ErrorKind.OUT_OF_RESOURCES, message, retry_after_s=1.0, may_have_run=False)


def _port(url: httpx.URL) -> int:
    return _DEFAULT_PORTS.get(url.scheme, 0) if url.port is None else url.port


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{_host(url)}:{_port(url)}"


def _normal_origin(text: str) -> str:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL("")
    if url.scheme not in _DEFAULT_PORTS or not url.raw_host or url.userinfo or url.path not in ("", "/") or url.query:
        raise ValueError(f"an allowed origin must look like http://127.0.0.1:9000, not {text!r}")
    return _origin(url)
