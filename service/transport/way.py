"""The way to a server: directly or through a proxy, and with which certificate of our own."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Proxies:
    """Which proxy a URL is reached through.

    Attributes:
        url: ``http://user:password@host:port``. Empty: none.
        bypass: Hosts that are reached directly, as in the variable NO_PROXY: names with everything below them,
            addresses, networks, or ``*``.
        always: Whether it is used for every URL. Otherwise plain http and loopback go past it as well: these are
            servers of one's own.
    """

    url: str = field(default="", repr=False)
    bypass: tuple[str, ...] = ()
    always: bool = False

    def for_url(self, url: str) -> str:
        """The proxy for a URL; empty where it is reached directly."""
        if not self.url or self.always:
            return self.url
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme != "https" or _is_loopback(host) or any(_matches(host, each) for each in self.bypass):
            return ""
        return self.url


@dataclass(frozen=True, slots=True)
class Way:
    """The way to one provider.

    Attributes:
        ssl_context: Verifies its certificate and shows one of ours; None: the client's own context.
    """

    proxies: Proxies = Proxies()
    ssl_context: ssl.SSLContext | None = None


DIRECT = Way()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _matches(host: str, entry: str) -> bool:
    """Whether a host is meant by an entry of NO_PROXY."""
    if entry == "*":
        return True
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        name = entry.lower().lstrip("*.")
        return bool(name) and (host == name or host.endswith(f".{name}"))
