"""Downloads an image from a URL that someone else chose."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


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
            http, other ports than 443 and private addresses are allowed.
    """

    max_bytes: int = 50_000_000
    timeout_s: float = 30.0
    max_redirects: int = 3
    allowed_origins: frozenset[str] = frozenset()


Resolver = Callable[[str, int], Awaitable[list[str]]]
"""From a host name and a port to its addresses as text, best first; raises OSError when there are none."""


class ImageFetcher:
    """Fetches images from hostile URLs. One instance serves the whole process; close it at the end."""

    def __init__(
        self,
        *,
        resolver: Resolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None: ...

    async def fetch_image_url(self, url: str, *, policy: FetchPolicy, chosen_by: ChosenBy) -> bytes:
        """The bytes behind an https or data URL. They are not looked into: ``imaging.inspect`` is next.

        Raises:
            GatewayError: INVALID_REQUEST ``invalid_image_url`` (param ``image_url``) for a URL the caller
                chose, BAD_RESPONSE for one a provider chose.
        """
        raise NotImplementedError

    async def aclose(self) -> None: ...
