"""One thread that owns a SQLite connection. The event loop never waits for the disk."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from service.storage.errors import StorageError

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

# How long another process may hold the file before a call here fails.
_BUSY_TIMEOUT_S = 2.0
_LONGEST_WAIT_S = 5.0
_MOST_PER_COMMIT = 256


@dataclass(slots=True)
class _Job:
    work: Work[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class SqliteWorker:
    """Runs pieces of work, each in a transaction of its own: all of it happens, or nothing.

    What is waiting when the thread gets to it shares one commit, hence one flush to the disk. A result is handed
    over after that flush only: what a caller has been told survives kill -9, and with it a power failure.

    Args:
        file: Made, with its directory, where it is missing; readable by its owner only.
        schema: Statements that set up what is not there yet.

    Raises:
        StorageError: The file cannot be opened or is no database.
    """

    def __init__(self, file: Path, schema: str) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            self._connection = sqlite3.connect(
                file, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            # In WAL mode the usual NORMAL loses the last commits with the power.
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(schema)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"{file} cannot be opened: {error}") from None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        # A daemon: a process on its way out does not wait for it, and needs not to, as every commit is whole.
        self._thread = threading.Thread(target=self._run, name="governance-store", daemon=True)
        self._thread.start()

    async def run(self, work: Work[Result]) -> Result:
        """What ``work`` returns, once it is on the disk.

        Raises:
            StorageError: It is not: the disk is full, the file is locked for too long, ...
        """
        if self._closed:
            raise StorageError("the store is closed")
        loop = asyncio.get_running_loop()
        job = _Job(work, loop, loop.create_future())
        self._jobs.put(job)
        try:
            async with asyncio.timeout(_LONGEST_WAIT_S):
                return cast("Result", await job.future)
        except TimeoutError:
            raise StorageError("the database did not answer in time") from None

    async def aclose(self) -> None:
        """Does what is waiting, then closes the file."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        open_for_work = True
        while open_for_work:
            first = self._jobs.get()
            batch = [first]
            with contextlib.suppress(queue.Empty):
                while len(batch) < _MOST_PER_COMMIT:
                    batch.append(self._jobs.get_nowait())
            open_for_work = None not in batch
            jobs = [job for job in batch if job is not None]
            if jobs:
                self._commit(jobs)
            for job in jobs:
                # The loop is gone where a service was stopped while this was under way.
                with contextlib.suppress(RuntimeError):
                    job.loop.call_soon_threadsafe(_hand_over, job)
        self._connection.close()

    def _commit(self, jobs: Sequence[_Job]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._do(job)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            for job in jobs:
                job.error = StorageError(f"the database failed: {error}")

    def _do(self, job: _Job) -> None:
        self._connection.execute("SAVEPOINT job")
        try:
            job.result = job.work(self._connection)
        except Exception as error:
            self._connection.execute("ROLLBACK TO job")
            job.error = StorageError(f"the database failed: {error}") if isinstance(error, sqlite3.Error) else error
        self._connection.execute("RELEASE job")


def _hand_over(job: _Job) -> None:
    # Whoever waited may have been cancelled meanwhile.
    if job.future.done():
        return
    if job.error is not None:
        job.future.set_exception(job.error)
    else:
        job.future.set_result(job.result)
