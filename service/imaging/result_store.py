"""Where results wait to be fetched when a caller asked for URLs."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import AzureStore, GCSStore, LocalStore, MemoryStore, S3Store, from_url

from service.core.errors import ErrorKind, GatewayError
from service.core.values import EncodedImage, ImageFormat
from service.imaging.signing import NAME_PATTERN, valid_name

_CHUNK_BYTES = 256 * 1024
# What a process that died in the middle of a write leaves behind: the name and the number of the attempt.
_UNFINISHED_PATTERN = re.compile(NAME_PATTERN.pattern + r"#[0-9]+", re.ASCII)
# Making room goes a little below the cap, so that a full store is not searched again for every image.
_ROOM_AFTER_EVICTION = 0.9


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
        """Opens a stored image for reading. An image removed meanwhile can still be read to its end."""
        ...

    async def delete(self, name: str) -> None:
        """Removes an image; no error where it is gone already."""
        ...

    async def sweep(self, now: datetime) -> int:
        """Removes images older than the lifetime, then the oldest ones over the cap; returns how many.

        Files that do not have a name of ours are never touched.

        Args:
            now: The current time, with a time zone.
        """
        ...

    async def presigned_url(self, name: str, lifetime: timedelta) -> str | None:
        """A URL of the storage's own from which the image can be fetched; None where the service serves it."""
        ...


def open_store(
    location: str | Path,
    *,
    lifetime: timedelta,
    max_bytes: int | None = None,
    options: Mapping[str, str] | None = None,
) -> ImageStore:
    """The store at a location: a directory, or an ``s3://``, ``gs://`` or ``az://`` URL.

    Args:
        lifetime: How long results are kept.
        max_bytes: Most bytes held; None for no cap. An object store may exceed it until the next sweep.
        options: Settings of the object store as obstore names them, such as ``region`` or ``endpoint``.

    Raises:
        ValueError: The URL is of no store that can sign URLs, or obstore does not accept it or the options.
        OSError: The directory cannot be made.
    """
    scheme, separator, _ = str(location).partition("://")
    if not separator:
        return LocalImageStore(Path(location), lifetime=lifetime, max_bytes=max_bytes)
    if scheme not in ("s3", "gs", "az"):
        raise ValueError(f"results are stored in a directory or at s3://, gs:// or az://, not at {scheme}://")
    try:
        bucket: Any = from_url(str(location), config=dict(options or {}))  # type: ignore[call-overload]
    except BaseError as error:
        # obstore's message may quote the options, and those may hold keys.
        kind = type(error).__name__
        raise ValueError(f"the {scheme}:// store for results is not configured right ({kind})") from None
    return ObjectImageStore(bucket, lifetime=lifetime, max_bytes=max_bytes)


class LocalImageStore:
    """A directory, mode 0700, of files with mode 0600.

    Args:
        directory: Made where it does not exist. It should hold nothing else.
        lifetime: How long results are kept.
        max_bytes: Most bytes held; images that would exceed it push out the oldest ones.
    """

    def __init__(self, directory: Path, *, lifetime: timedelta, max_bytes: int | None = None) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(PermissionError):
            # A volume that someone else mounted for us keeps the permissions it came with.
            directory.chmod(0o700)
        self._directory = directory
        self._lifetime = lifetime
        self._max_bytes = max_bytes
        self._store = LocalStore(directory)
        self._held_bytes = sum(entry.size for entry in self._entries())

    async def put(self, image: EncodedImage) -> str:
        name = _new_name(image)
        with _storage_errors():
            # Written beside its name and then renamed, so a reader never sees half of it.
            await obstore.put_async(self._store, name, image.data, use_multipart=False)
            (self._directory / name).chmod(0o600)
            self._held_bytes += len(image.data)
            if self._max_bytes is not None and self._held_bytes > self._max_bytes:
                await asyncio.to_thread(self._remove, None)
        return name

    async def open(self, name: str) -> StoredImage:
        return await _open(self._store, name)

    async def delete(self, name: str) -> None:
        await _delete(self._store, name)

    async def sweep(self, now: datetime) -> int:
        with _storage_errors():
            return await asyncio.to_thread(self._remove, (now - self._lifetime).timestamp())

    async def presigned_url(self, name: str, lifetime: timedelta) -> str | None:  # noqa: ARG002  the protocol's
        return None

    def _entries(self) -> list[_Entry]:
        """All files of ours, unfinished ones included, oldest first."""
        found = []
        with os.scandir(self._directory) as listing:
            for file in listing:
                if not (valid_name(file.name) or _UNFINISHED_PATTERN.fullmatch(file.name)):
                    continue
                with suppress(FileNotFoundError):
                    status = file.stat(follow_symlinks=False)
                    found.append(_Entry(file.name, status.st_size, status.st_mtime))
        return sorted(found, key=lambda entry: entry.modified)

    def _remove(self, expired_before: float | None) -> int:
        entries = self._entries()
        cap = self._max_bytes if expired_before is not None else int((self._max_bytes or 0) * _ROOM_AFTER_EVICTION)
        doomed = _doomed(entries, expired_before, cap)
        for entry in doomed:
            (self._directory / entry.name).unlink(missing_ok=True)
        self._held_bytes = sum(entry.size for entry in entries) - sum(entry.size for entry in doomed)
        return len(doomed)


class ObjectImageStore:
    """A bucket (S3, Google Cloud Storage, Azure). Its own signed URLs are what callers get.

    Args:
        store: The bucket, with any prefix.
        lifetime: How long results are kept.
        max_bytes: Most bytes held after a sweep.
    """

    def __init__(
        self,
        store: S3Store | GCSStore | AzureStore | MemoryStore,
        *,
        lifetime: timedelta,
        max_bytes: int | None = None,
    ) -> None:
        self._store = store
        self._lifetime = lifetime
        self._max_bytes = max_bytes

    async def put(self, image: EncodedImage) -> str:
        name = _new_name(image)
        with _storage_errors():
            await obstore.put_async(
                self._store,
                name,
                image.data,
                attributes={"Content-Type": image.format.media_type},
                use_multipart=False,
            )
        return name

    async def open(self, name: str) -> StoredImage:
        return await _open(self._store, name)

    async def delete(self, name: str) -> None:
        await _delete(self._store, name)

    async def sweep(self, now: datetime) -> int:
        with _storage_errors():
            entries = [
                _Entry(meta["path"], meta["size"], meta["last_modified"].timestamp())
                async for batch in obstore.list(self._store)
                for meta in batch
                if valid_name(meta["path"])
            ]
            entries.sort(key=lambda entry: entry.modified)
            doomed = _doomed(entries, (now - self._lifetime).timestamp(), self._max_bytes)
            if doomed:
                await obstore.delete_async(self._store, [entry.name for entry in doomed])
        return len(doomed)

    async def presigned_url(self, name: str, lifetime: timedelta) -> str | None:
        _check_name(name)
        if isinstance(self._store, MemoryStore):
            return None
        with _storage_errors():
            return await obstore.sign_async(self._store, "GET", name, lifetime)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A stored file: its size in bytes and when it was written, in Unix time."""

    name: str
    size: int
    modified: float


def _doomed(oldest_first: list[_Entry], expired_before: float | None, max_bytes: int | None) -> list[_Entry]:
    """What has to go: everything from before the expiry, then the oldest until the rest is within the cap."""
    held = sum(entry.size for entry in oldest_first)
    doomed = []
    for entry in oldest_first:
        expired = expired_before is not None and entry.modified <= expired_before
        if not expired and (max_bytes is None or held <= max_bytes):
            break
        doomed.append(entry)
        held -= entry.size
    return doomed


def _new_name(image: EncodedImage) -> str:
    return f"{secrets.token_urlsafe(24)}.{image.format.value}"


def _check_name(name: str) -> None:
    if not valid_name(name):
        raise _not_found()


def _not_found() -> GatewayError:
    return GatewayError(ErrorKind.NOT_FOUND, "There is no such file; it may have expired.", code="file_not_found")


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Turns what the storage raises into errors for a caller, who learns no path, bucket or key from them."""
    try:
        yield
    except (FileNotFoundError, NotFoundError):
        raise _not_found() from None
    except (BaseError, OSError) as error:
        raise GatewayError(ErrorKind.INTERNAL, "The store for results failed.", code="storage_failed") from error


async def _open(store: Any, name: str) -> StoredImage:
    _check_name(name)
    with _storage_errors():
        result = await obstore.get_async(store, name)
    media_type = ImageFormat(name.rpartition(".")[2]).media_type
    return StoredImage(media_type, result.meta["size"], _chunks(result))


async def _chunks(result: Any) -> AsyncIterator[bytes]:
    with _storage_errors():
        async for chunk in result.stream(min_chunk_size=_CHUNK_BYTES):
            yield bytes(chunk)


async def _delete(store: Any, name: str) -> None:
    _check_name(name)
    try:
        with _storage_errors():
            await obstore.delete_async(store, name)
    except GatewayError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
