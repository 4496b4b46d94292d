"""Results in a directory of this machine."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import obstore
from obstore.store import LocalStore

from service.core.errors import GatewayError
from service.core.values import EncodedImage
from service.imaging.result_store import (
    Entry,
    ImageStore,
    StoredImage,
    name_of,
    open_stored,
    storage_errors,
    storage_failed,
    to_remove,
)
from service.imaging.signing import NAME_PATTERN, valid_name

# A process that died in the middle of a write leaves a file behind: the name and the number of the attempt.
_UNFINISHED_PATTERN: Final = re.compile(NAME_PATTERN.pattern + r"#[0-9]+", re.ASCII)
# ENOSPC and EDQUOT, as obstore tells of them.
_DISK_FULL: Final = re.compile(r"os error (28|122)\b")
# Making room goes a little below the cap, so that a full store is not searched again for every image.
_ROOM_AFTER_EVICTION: Final = 0.9
# Left free on the disk: file systems slow down, and other programs fail, when there is nothing at all.
_SPARE_BYTES: Final = 1024 * 1024


class LocalImageStore(ImageStore):
    """A directory, mode 0700, of files with mode 0600.

    Args:
        directory: Made where it does not exist. It should hold nothing else.
        lifetime: How long results are kept.
        max_bytes: Most bytes held; images that would exceed it push out others, and so they do on a full disk.
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

    async def put(self, image: EncodedImage, *, holder: str = "", repeated: str = "") -> str:
        name = name_of(image, holder, repeated)
        path = self._directory / name
        if repeated:
            with suppress(OSError):
                # It is there already: its lifetime begins anew.
                os.utime(path)
                return name
        with storage_errors():
            if self._free_bytes() < len(image.data) + _SPARE_BYTES:
                await asyncio.to_thread(self._make_room_on_disk, len(image.data))
            try:
                await self._write(name, image.data)
            except GatewayError as error:
                # Others fill the disk too, and a quota does not show in its free space.
                full = _DISK_FULL.search(str(error.__cause__)) is not None
                if not (full and await asyncio.to_thread(self._make_room_on_disk, len(image.data))):
                    raise
                await self._write(name, image.data)
            self._held_bytes += len(image.data)
            if self._max_bytes is not None and self._held_bytes > self._max_bytes:
                await asyncio.to_thread(self._remove, None, int(self._max_bytes * _ROOM_AFTER_EVICTION))
        return name

    async def open(self, name: str) -> StoredImage:
        return await open_stored(self._store, name)

    async def check(self) -> None:
        with storage_errors():
            # A disk full of our own results is fine: the store removes old ones to make room for the next.
            if self._free_bytes() < _SPARE_BYTES and not self._held_bytes:
                raise storage_failed()
            if not os.access(self._directory, os.W_OK | os.X_OK):
                raise storage_failed()

    async def sweep(self, now: datetime) -> int:
        with storage_errors():
            return await asyncio.to_thread(self._remove, (now - self._lifetime).timestamp(), self._max_bytes)

    async def presigned_url(self, name: str, lifetime: timedelta) -> str | None:  # noqa: ARG002  the protocol's
        return None

    async def _write(self, name: str, data: bytes) -> None:
        try:
            with storage_errors():
                # Written beside its name and then renamed, so a reader never sees half of it.
                await obstore.put_async(self._store, name, data, use_multipart=False)
                (self._directory / name).chmod(0o600)
        except GatewayError:
            for unfinished in self._directory.glob(f"{name}#*"):
                with suppress(OSError):
                    unfinished.unlink()
            raise

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._directory).free

    def _make_room_on_disk(self, wanted: int) -> bool:
        """Removes images until ``wanted`` bytes fit on the disk; whether any was there to be removed."""
        missing = wanted + _SPARE_BYTES - self._free_bytes()
        # At least as much as is wanted: under a quota the disk itself has room.
        return bool(self._remove(None, max(0, self._held_on_disk() - max(missing, wanted))))

    def _held_on_disk(self) -> int:
        return sum(entry.size for entry in self._entries())

    def _entries(self) -> list[Entry]:
        """All files of ours, unfinished ones included."""
        found = []
        with os.scandir(self._directory) as listing:
            for file in listing:
                if not (valid_name(file.name) or _UNFINISHED_PATTERN.fullmatch(file.name)):
                    continue
                with suppress(FileNotFoundError):
                    status = file.stat(follow_symlinks=False)
                    found.append(Entry(file.name, status.st_size, status.st_mtime))
        return found

    def _remove(self, expired_before: float | None, max_bytes: int | None) -> int:
        entries = self._entries()
        doomed = to_remove(entries, expired_before, max_bytes)
        for entry in doomed:
            (self._directory / entry.name).unlink(missing_ok=True)
        self._held_bytes = sum(entry.size for entry in entries) - sum(entry.size for entry in doomed)
        return len(doomed)
