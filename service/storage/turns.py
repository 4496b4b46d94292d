"""Turns at a file that several processes write to: first come, first served."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class Turns:
    """Two lock files beside a file. A process waits for its turn while it holds the place of the next one.

    With one lock alone, a process that has just had its turn takes the next one before the others have woken up. The
    locks belong to the open files, so that two workers of one process wait for each other too, and they are gone with
    the process that held them.

    Raises:
        OSError: The lock files cannot be made.
    """

    def __init__(self, file: Path) -> None:
        self._next = _opened(file.with_name(f"{file.name}-next"))
        try:
            self._turn = _opened(file.with_name(f"{file.name}-turn"))
        except OSError:
            os.close(self._next)
            raise

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """A block during which no other process has its turn. Waits for as long as it takes."""
        fcntl.flock(self._next, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._next, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._next)
        os.close(self._turn)


def _opened(file: Path) -> int:
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
