"""Where results wait to be fetched when a caller asked for URLs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from service.core.values import EncodedImage


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A stored result, opened.

    Attributes:
        media_type: Such as ``image/png``.
        size: In bytes.
        chunks: The bytes, to be iterated once.
    """

    media_type: str
    size: int
    chunks: AsyncIterator[bytes]


class ImageStore(Protocol):
    """Keeps results under unguessable names until their lifetime is over.

    Every method raises GatewayError: NOT_FOUND ``file_not_found`` for a name that is not (or cannot be) in
    the store, INTERNAL where the storage itself fails.
    """

    async def put(self, image: EncodedImage) -> str:
        """Stores an image and returns its name, such as ``2Xk…9w.png``. Readers see all of it or nothing."""
        ...

    async def open(self, name: str) -> StoredImage:
        """Opens a stored image for reading."""
        ...

    async def delete(self, name: str) -> None:
        """Removes an image; no error where it is gone already."""
        ...

    async def sweep(self, now: datetime) -> int:
        """Removes images older than the lifetime, then the oldest ones over the cap; returns how many.

        Args:
            now: The current time, with a time zone.
        """
        ...

    async def presigned_url(self, name: str, lifetime: timedelta) -> str | None:
        """A URL of the storage's own from which the image can be fetched; None where the service serves it."""
        ...


def open_store(location: str | Path, *, lifetime: timedelta, max_bytes: int | None = None) -> ImageStore:
    """The store at a location: a directory, or an ``s3://``, ``gs://`` or ``az://`` URL.

    Args:
        lifetime: How long results are kept.
        max_bytes: Most bytes held after a sweep; None for no cap.

    Raises:
        ValueError: The URL's scheme is of no store that can sign URLs.
    """
    raise NotImplementedError
