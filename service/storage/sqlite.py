"""One thread that owns a SQLite connection. The event loop never waits for the disk."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from service.storage.errors import DamagedError, StorageError
from service.storage.schema import Schema
from service.storage.turns import Turns

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

# The longest time that another process may hold the file before a call here fails.
_BUSY_TIMEOUT_S: Final = 2.0
_LONGEST_WAIT_S: Final = 5.0
_MOST_PER_COMMIT: Final = 256
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# SQLite keeps extended codes in the higher bits of an error code.
_PRIMARY_CODE: Final = 0xFF


class Effect(Enum):
    """The effect of a piece of work on the file."""

    READS = "reads"
    """It changes nothing."""
    WRITES = "writes"
    """Its changes survive the death of this process; the last moments may be lost with the power."""
    ENDURES = "endures"
    """Its changes are on the disk when its result is handed over."""


@dataclass(slots=True)
class _Job:
    work: Work[Any]
    effect: Effect
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class SqliteWorker:
    """Runs pieces of work, each in a transaction of its own: all of it happens, or nothing.

    Pieces that wait at the same time share one commit, hence one flush to the disk. A result is handed over after
    that commit.

    Processes that share a file write to it in turns, and are woken when theirs comes. (SQLite by itself sleeps, looks
    again, sleeps for longer, and never comes to write beside a process that is quicker.)

    Args:
        file: Made, with its directory, where it is missing; readable by its owner only.
        schema: Its tables.
        name: Of the thread.
        gives_back: Whether ``incremental_vacuum`` can give free pages back to the file system. Decided for good when
            the file is made.

    Raises:
        StorageError: The file cannot be opened, or a newer version of the gateway wrote it; as DamagedError where it
            is no database.
    """

    def __init__(self, file: Path, schema: Schema, *, name: str, gives_back: bool = False) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            self._turns = Turns(file)
        except OSError as error:
            raise StorageError(f"{file} cannot be opened: {error.strerror}") from None
        try:
            self._connection = _connected(file, schema, gives_back=gives_back)
        except BaseException:
            self._turns.close()
            raise
        self._effect = Effect.ENDURES
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        # A daemon: a process on its way out does not wait for it, and needs not to, as every commit is whole.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Work[Result], effect: Effect = Effect.ENDURES) -> Result:
        """Runs ``work`` on the thread and returns its result once its changes are as safe as ``effect`` says.

        Raises:
            StorageError: They are not: the disk is full, the file is locked for too long, ...; as DamagedError where
                the file is found to be damaged.
        """
        if self._closed:
            raise StorageError("the store is closed")
        loop = asyncio.get_running_loop()
        job = _Job(work, effect, loop, loop.create_future())
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
        # Not for ever: another process may have been stopped in the middle of its turn.
        await asyncio.to_thread(self._thread.join, _LONGEST_WAIT_S)

    def _run(self) -> None:
        open_for_work = True
        while open_for_work:
            batch = self._waiting()
            if _writes(batch):
                # Others may have come while another process had its turn: they share this commit.
                with self._turns.turn():
                    batch += self._waiting(at_most=_MOST_PER_COMMIT - len(batch), block=False)
                    self._commit([job for job in batch if job is not None])
            else:
                self._commit([job for job in batch if job is not None])
            open_for_work = None not in batch
            for job in batch:
                # The loop is gone where a service was stopped while this was under way.
                if job is not None:
                    with contextlib.suppress(RuntimeError):
                        job.loop.call_soon_threadsafe(_hand_over, job)
        self._connection.close()
        self._turns.close()

    def _waiting(self, *, at_most: int = _MOST_PER_COMMIT, block: bool = True) -> list[_Job | None]:
        """The jobs that wait, in order; ``block``: waits for the first. None stands for the end of all work."""
        batch: list[_Job | None] = [self._jobs.get()] if block else []
        with contextlib.suppress(queue.Empty):
            while len(batch) < at_most:
                batch.append(self._jobs.get_nowait())
        return batch

    def _commit(self, jobs: Sequence[_Job]) -> None:
        if not jobs:
            return
        try:
            effect = self._prepare(jobs)
            self._connection.execute("BEGIN" if effect is Effect.READS else "BEGIN IMMEDIATE")
            for job in jobs:
                self._do(job)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            for job in jobs:
                job.error = _failure(error)

    def _prepare(self, jobs: Sequence[_Job]) -> Effect:
        """Makes the next commit as safe as the most demanding job wants it."""
        effects = {job.effect for job in jobs}
        effect = next(each for each in (Effect.ENDURES, Effect.WRITES, Effect.READS) if each in effects)
        if effect is not Effect.READS and effect is not self._effect:
            # In WAL mode NORMAL does not flush at a commit; FULL does.
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if effect is Effect.ENDURES else 'NORMAL'}")
            self._effect = effect
        return effect

    def _do(self, job: _Job) -> None:
        self._connection.execute("SAVEPOINT job")
        try:
            job.result = job.work(self._connection)
        except Exception as error:
            self._connection.execute("ROLLBACK TO job")
            job.error = _failure(error) if isinstance(error, sqlite3.Error) else error
        self._connection.execute("RELEASE job")


def companions(file: Path) -> tuple[Path, ...]:
    """A database's file and those that SQLite keeps beside it: what has to be moved together."""
    return (file, *(file.with_name(f"{file.name}{suffix}") for suffix in ("-wal", "-shm")))


def _connected(file: Path, schema: Schema, *, gives_back: bool) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(file, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise StorageError(f"{file} cannot be opened: {error}") from None
    try:
        if gives_back:
            # Takes effect in a new file only, and before anything else.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        schema.apply(connection, file)
    except sqlite3.Error as error:
        connection.close()
        kind = DamagedError if _is_damage(error) else StorageError
        raise kind(f"{file} cannot be opened: {error}") from None
    except BaseException:
        connection.close()
        raise
    return connection


def _writes(batch: Sequence[_Job | None]) -> bool:
    return any(job is not None and job.effect is not Effect.READS for job in batch)


def _failure(error: sqlite3.Error) -> StorageError:
    return (DamagedError if _is_damage(error) else StorageError)(f"the database failed: {error}")


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & _PRIMARY_CODE in _DAMAGED


def _hand_over(job: _Job) -> None:
    # The caller may have been cancelled meanwhile.
    if job.future.done():
        return
    if job.error is not None:
        job.future.set_exception(job.error)
    else:
        job.future.set_result(job.result)
