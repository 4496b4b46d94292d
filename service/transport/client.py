"""The HTTP client for provider APIs."""

from __future__ import annotations

import httpx
from pyqwest import HTTPTransport, Proxy
from pyqwest.httpx import AsyncPyqwestTransport

# pyqwest obeys HTTP_PROXY and its like whenever it is given no proxy, so it is given one that no host goes through.
# "*" matches names only; addresses need the networks.
_NO_PROXY = Proxy("http://127.0.0.1:9", no_proxy="*,0.0.0.0/0,::/0")


def open_client(
    *,
    connect_timeout_s: float = 10.0,
    idle_connections_per_host: int = 64,
    idle_timeout_s: float = 90.0,
    proxy: str = "",
    certificate_authorities: bytes = b"",
) -> httpx.AsyncBaseTransport:
    """A client with a connection pool; one serves the whole process. Close it with ``aclose()``.

    In httpx's terms it is a transport: what ``httpx.AsyncClient`` would add is what must not happen here. Nothing
    follows redirects (a redirected POST would leave for a host nobody vouched for), keeps cookies (they would
    travel from one caller's request to another's), or reads environment variables. TLS is verified; HTTP/2 is used
    where the server offers it. Time limits of whole requests are the caller's.

    Args:
        connect_timeout_s: Seconds for name resolution, TCP and TLS together.
        idle_connections_per_host: Most connections that are kept for reuse, for each host.
        idle_timeout_s: Seconds after which an unused connection is closed.
        proxy: URL of a proxy that all requests go through, or empty.
        certificate_authorities: PEM certificates to trust besides the system's.
    """
    transport = HTTPTransport(
        tls_include_system_certs=True,
        tls_ca_cert=certificate_authorities or None,
        proxy=proxy or _NO_PROXY,
        connect_timeout=connect_timeout_s,
        pool_max_idle_per_host=idle_connections_per_host,
        pool_idle_timeout=idle_timeout_s,
        enable_brotli=False,
        enable_zstd=False,
        enable_cookie_store=False,
        follow_redirects=False,
        enable_otel=False,
    )
    return AsyncPyqwestTransport(transport)
