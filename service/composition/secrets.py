"""Provider keys in files, read anew when the files change: keys are rotated without a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from service.config.secret_files import read_secret

log = logging.getLogger("service.secrets")

REREAD_EVERY_S = 5.0

_Version = tuple[int, int, int] | None
"""A stamp that differs once a file was written or replaced; None while there is no file."""


@dataclass(slots=True)
class _Followed:
    path: str
    renew: Callable[[str], None]
    version: _Version


class SecretFiles:
    """The files that hold secrets in use."""

    def __init__(self) -> None:
        self._files: list[_Followed] = []

    def follow(self, path: str, secret: str, renew: Callable[[str], None]) -> None:
        """From now on ``renew`` is given what the file holds whenever that is another secret than the last one.

        Args:
            secret: What it held when it was read.
        """
        last = secret

        def renew_if_other(text: str) -> None:
            nonlocal last
            if text != last:
                last = text
                renew(text)
                log.info("a key was read anew", extra={"fields": {"file": path}})

        # No version yet: what was written since the file was read is not missed.
        self._files.append(_Followed(path, renew_if_other, None))

    async def reread(self) -> None:
        """Looks at every file. One that cannot be used is told of, and the secret that it held stays in use."""
        for file in self._files:
            version = await asyncio.to_thread(_version, file.path)
            if version == file.version:
                continue
            file.version = version
            try:
                text = await asyncio.to_thread(read_secret, file.path)
            except ValueError as unusable:
                log.warning("a key stays as it was", extra={"fields": {"file": file.path, "reason": str(unusable)}})
            else:
                file.renew(text)


def _version(path: str) -> _Version:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
