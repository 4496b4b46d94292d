"""Results by URL: storing an image, linking to it, and opening what a link names."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final
from urllib.parse import urlencode

from service.core.errors import GatewayError
from service.core.values import EncodedImage
from service.imaging.result_store import ImageStore, StoredImage, storage_failed
from service.imaging.signing import LinkSigner

log = logging.getLogger("service.results")

FILES_PATH = "/v1/images/files/"
# Storing an image of a few megabytes takes a bucket less than a second.
LONGEST_STORING_S: Final = 10.0
_AWAY_S: Final = 5.0
_LOG_EVERY_S: Final = 10.0


class Links:
    """Makes links that work until they expire, and opens them.

    Args:
        lifetime: How long a link works.
        public_url: Where callers reach this gateway, such as ``https://images.example.org``; empty: wherever
            the request at hand reached it.
        now: Unix time in seconds.
        longest_s: The time after which a store that does not answer counts as away.
    """

    def __init__(
        self,
        store: ImageStore,
        signer: LinkSigner,
        *,
        lifetime: timedelta,
        public_url: str = "",
        now: Callable[[], float] = time.time,
        longest_s: float = LONGEST_STORING_S,
    ) -> None:
        self._store = store
        self._signer = signer
        self._lifetime = lifetime
        self._public_url = public_url.rstrip("/")
        self._now = now
        self._longest_s = longest_s
        self._away_until = -math.inf
        self._logged_at = -math.inf
        self._not_logged = 0

    async def publish(self, image: EncodedImage, base_url: str, *, holder: str = "", repeated: str = "") -> str | None:
        """Stores an image and returns the URL to fetch it from; None where it cannot be stored, which is logged.

        A store that did not answer in time is not asked again for a few seconds.

        Args:
            base_url: Where the request at hand reached this gateway; used where no public URL is configured.
            holder, repeated: As for ``ImageStore.put``.
        """
        clock = asyncio.get_running_loop().time
        if clock() < self._away_until:
            return None
        try:
            async with asyncio.timeout(self._longest_s) as patience:
                name = await self._store.put(image, holder=holder, repeated=repeated)
                presigned = await self._store.presigned_url(name, self._lifetime)
        except (GatewayError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                if not patience.expired():
                    raise
                self._away_until = clock() + _AWAY_S
            self._log_failure(error)
            return None
        if presigned is not None:
            return presigned
        query = self._signer.sign(name, int(self._now() + self._lifetime.total_seconds()))
        values = urlencode({"expires": query.expires, "signature": query.signature})
        return f"{self._public_url or base_url}{FILES_PATH}{name}?{values}"

    async def open(self, name: str, expires: str, signature: str) -> StoredImage:
        """The image that a link names.

        Raises:
            GatewayError: PERMISSION_DENIED for a link we did not make, NOT_FOUND for one that has expired.
        """
        self._signer.verify(name, expires, signature, now=self._now())
        return await self._store.open(name)

    async def check(self) -> None:
        """Raises GatewayError ``storage_failed`` where no image could be stored just now."""
        try:
            async with asyncio.timeout(self._longest_s):
                await self._store.check()
        except TimeoutError:
            raise storage_failed() from None

    def _log_failure(self, error: GatewayError | TimeoutError) -> None:
        """One line for many failures: a full disk fails for every image."""
        now = asyncio.get_running_loop().time()
        if now < self._logged_at + _LOG_EVERY_S:
            self._not_logged += 1
            return
        cause = type(error.__cause__ or error).__name__
        fields = {"error": cause, "reason": str(error.__cause__ or error)[:200], "others_before": self._not_logged}
        log.error("a result cannot be stored; it is in the answer itself", extra={"fields": fields})
        self._logged_at, self._not_logged = now, 0
