"""Which URLs a provider's credential may be sent to."""

from __future__ import annotations

import functools
import re

from service.providers.base import Endpoint

# Stricter than any URL standard, so that no two parsers can disagree about the host: no user info, no backslash,
# no fragment, printable ASCII only.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?:[/?][!\"$-\[\]-~]*)?",
    re.IGNORECASE,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_trusted(url: str, endpoint: Endpoint) -> bool:
    """Whether the URL is at the endpoint's own origin, or on https at a trusted host's standard port."""
    origin = _origin(url)
    if origin is None:
        return False
    if origin == _own_origin(endpoint.base_url):
        return True
    scheme, host, port = origin
    return (scheme, port) == ("https", 443) and any(_matches(host, trusted) for trusted in endpoint.trusted_hosts)


def _origin(url: str) -> tuple[str, str, int] | None:
    match = _URL.fullmatch(url)
    if match is None:
        return None
    scheme, host = match["scheme"].lower(), match["host"].lower()
    return scheme, host, int(match["port"]) if match["port"] else _DEFAULT_PORTS[scheme]


@functools.lru_cache(maxsize=256)
def _own_origin(base_url: str) -> tuple[str, str, int] | None:
    """The origin of one of the configuration's few base URLs, which are looked at twice in every request."""
    return _origin(base_url)


def _matches(host: str, trusted: str) -> bool:
    name = trusted.lower()
    return host.endswith(name) if name.startswith(".") else host == name
