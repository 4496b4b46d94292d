"""The store of results that wait to be fetched when a caller asked for URLs: what every such store does."""

from __future__ import annotations

import base64
import hashlib
import heapq
import secrets
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import obstore
from obstore.exceptions import BaseError, NotFoundError

from service.core.errors import ErrorKind, GatewayError
from service.core.values import EncodedImage, ImageFormat
from service.imaging.signing import valid_name

_CHUNK_BYTES: Final = 256 * 1024
# A name is 32 characters, of which the first say who holds it: so a store knows that after a restart, too.
_NAME_CHARACTERS: Final = 32
_HOLDER_CHARACTERS: Final = 6
STORAGE_FAILED: Final = "storage_failed"
"""The code of errors of the storage itself."""


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


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored file: its size in bytes and the Unix time from which its lifetime counts."""

    name: str
    size: int
    modified: float


class ImageStore(Protocol):
    """Keeps results under unguessable names until their lifetime is over.

    Every method raises GatewayError: NOT_FOUND ``file_not_found`` for a name that is not (or cannot be) in
    the store, INTERNAL ``storage_failed`` where the storage itself fails, for lack of space too.
    """

    async def put(self, image: EncodedImage, *, holder: str = "", repeated: str = "") -> str:
        """Stores an image and returns its name, such as ``2Xk…9w.png``. Readers see all of it or nothing.

        Args:
            holder: The caller whom it is for. Where room has to be made, the holder of most loses the oldest image.
            repeated: A text that stands for this image: with the same one and the same holder, the name is the
                same too, and the file that is there is kept for another lifetime. Empty: a new name.
        """
        ...

    async def open(self, name: str) -> StoredImage:
        """Opens a stored image for reading. An image removed meanwhile can still be read to its end."""
        ...

    async def check(self) -> None:
        """Raises where no image could be stored just now."""
        ...

    async def sweep(self, now: datetime) -> int:
        """Removes images older than the lifetime, then, over the cap, those of the holders of most; returns how many.

        Files that do not have a name of ours are never touched.

        Args:
            now: The current time, with a time zone.
        """
        ...

    async def presigned_url(self, name: str, lifetime: timedelta) -> str | None:
        """A URL of the storage's own from which the image can be fetched; None where the service serves it."""
        ...


def name_of(image: EncodedImage, holder: str, repeated: str) -> str:
    """The name of an image, as ``ImageStore.put`` describes it."""
    own = _characters(f"image {repeated}") if repeated else secrets.token_urlsafe(_NAME_CHARACTERS)
    token = _characters(f"holder {holder}")[:_HOLDER_CHARACTERS] + own
    return f"{token[:_NAME_CHARACTERS]}.{image.format.value}"


def to_remove(entries: list[Entry], expired_before: float | None, max_bytes: int | None) -> list[Entry]:
    """The images that have to go: all from before the expiry, then, until the rest is within the cap, again and again
    the oldest one of the holder of most. So nobody loses an image to somebody who holds more.
    """
    doomed = []
    by_holder: dict[str, deque[Entry]] = {}
    held: dict[str, int] = {}
    for entry in sorted(entries, key=lambda entry: entry.modified):
        if expired_before is not None and entry.modified <= expired_before:
            doomed.append(entry)
            continue
        holder = entry.name[:_HOLDER_CHARACTERS]
        by_holder.setdefault(holder, deque()).append(entry)
        held[holder] = held.get(holder, 0) + entry.size
    if max_bytes is None:
        return doomed
    total = sum(held.values())
    heap = [(-size, holder) for holder, size in held.items()]
    heapq.heapify(heap)
    while total > max_bytes:
        size, holder = heapq.heappop(heap)
        entry = by_holder[holder].popleft()
        doomed.append(entry)
        total -= entry.size
        if by_holder[holder]:
            heapq.heappush(heap, (size + entry.size, holder))
    return doomed


def check_name(name: str) -> None:
    """Raises NOT_FOUND for a name that no store gave."""
    if not valid_name(name):
        raise _not_found()


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turns what the storage raises into errors for a caller, who learns no path, bucket or key from them."""
    try:
        yield
    except (FileNotFoundError, NotFoundError):
        raise _not_found() from None
    except (BaseError, OSError) as error:
        raise storage_failed() from error


def storage_failed() -> GatewayError:
    return GatewayError(ErrorKind.INTERNAL, "The store for results failed.", code=STORAGE_FAILED)


async def open_stored(store: Any, name: str) -> StoredImage:
    """Opens an image of any store of obstore's."""
    check_name(name)
    with storage_errors():
        result = await obstore.get_async(store, name)
    media_type = ImageFormat(name.rpartition(".")[2]).media_type
    return StoredImage(media_type, result.meta["size"], _chunks(result))


async def _chunks(result: Any) -> AsyncIterator[bytes]:
    with storage_errors():
        async for chunk in result.stream(min_chunk_size=_CHUNK_BYTES):
            yield bytes(chunk)


def _characters(text: str) -> str:
    """The same 43 characters of a name for the same text, from which the text cannot be found."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()).decode().rstrip("=")


def _not_found() -> GatewayError:
    return GatewayError(ErrorKind.NOT_FOUND, "There is no such file; it may have expired.", code="file_not_found")
