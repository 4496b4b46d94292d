"""Results by URL: storing an image, linking to it, and opening what a link names."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlencode

from service.core.values import EncodedImage
from service.imaging.signing import LinkSigner
from service.imaging.store import ImageStore, StoredImage

FILES_PATH = "/v1/images/files/"


class Links:
    """Makes links that work until they expire, and opens them.

    Args:
        lifetime: How long a link works.
        public_url: Where callers reach this gateway, such as ``https://images.example.org``; empty: wherever
            the request at hand reached it.
        now: Unix time in seconds.
    """

    def __init__(
        self,
        store: ImageStore,
        signer: LinkSigner,
        *,
        lifetime: timedelta,
        public_url: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._signer = signer
        self._lifetime = lifetime
        self._public_url = public_url.rstrip("/")
        self._now = now

    async def publish(self, image: EncodedImage, base_url: str) -> str:
        """Stores an image and returns the URL to fetch it from.

        Args:
            base_url: Where the request at hand reached this gateway; used where no public URL is configured.
        """
        name = await self._store.put(image)
        presigned = await self._store.presigned_url(name, self._lifetime)
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
