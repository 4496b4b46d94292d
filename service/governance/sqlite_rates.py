"""Moving windows in SQLite, as a storage of the ``limits`` library."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from limits.aio.storage import MovingWindowSupport, Storage

from service.storage.sqlite import SqliteWorker

SCHEMA = """
CREATE TABLE IF NOT EXISTS hits (
    account TEXT NOT NULL,
    at REAL NOT NULL,
    amount INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS hits_by_account ON hits (account, at);
"""


class SqliteRates(Storage, MovingWindowSupport):
    """Remembers every hit that is within its window: exact, whoever shares the file."""

    STORAGE_SCHEME = None

    def __init__(self, worker: SqliteWorker, now: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._worker = worker
        self._now = now

    @property
    def base_exceptions(self) -> type[Exception]:
        return sqlite3.Error

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Counts ``amount`` units under ``key`` if that makes no more than ``limit`` in ``expiry`` seconds."""
        now = self._now()

        def acquire(connection: sqlite3.Connection) -> bool:
            connection.execute("DELETE FROM hits WHERE account = ? AND at < ?", (key, now - expiry))
            (used,) = connection.execute(
                "SELECT coalesce(sum(amount), 0) FROM hits WHERE account = ?", (key,)
            ).fetchone()
            if used + amount > limit:
                return False
            connection.execute("INSERT INTO hits VALUES (?, ?, ?)", (key, now, amount))
            return True

        return await self._worker.run(acquire)

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest of the newest ``limit`` units in the window was counted, and how many they are."""
        now = self._now()

        def look(connection: sqlite3.Connection) -> tuple[float, int]:
            oldest, count = now, 0
            rows = connection.execute(
                "SELECT at, amount FROM hits WHERE account = ? AND at >= ? ORDER BY at DESC", (key, now - expiry)
            )
            for at, amount in rows:
                oldest, count = at, count + amount
                if count >= limit:
                    break
            return oldest, min(count, limit)

        return await self._worker.run(look)

    async def clear(self, key: str) -> None:
        """Forgets what was counted under ``key``."""
        await self._worker.run(lambda connection: connection.execute("DELETE FROM hits WHERE account = ?", (key,)))

    async def reset(self) -> int | None:
        """Forgets everything; how many hits that were."""
        return await self._worker.run(lambda connection: connection.execute("DELETE FROM hits").rowcount)

    async def check(self) -> bool:
        """Whether the database answers."""
        return await self._worker.run(lambda connection: connection.execute("SELECT 1").fetchone() is not None)

    # Fixed windows, which the base class wants: this storage keeps none.

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        raise NotImplementedError("this storage counts in moving windows only")

    async def get(self, key: str) -> int:
        raise NotImplementedError("this storage counts in moving windows only")

    async def get_expiry(self, key: str) -> float:
        raise NotImplementedError("this storage counts in moving windows only")
