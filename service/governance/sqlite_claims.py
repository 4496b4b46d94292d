"""Claims of idempotent requests in one SQLite file, for the processes of one machine."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Final

from service.governance.idempotency import Claimed, ClaimStore, Once
from service.storage.errors import DamagedError
from service.storage.schema import Schema
from service.storage.sqlite import Effect, SqliteWorker

MOST_BYTES: Final = 1 << 30
"""Of all answers together; the oldest are dropped, and then told to be gone."""

_SCHEMA: Final = Schema(
    version=1,
    statements=(
        """
CREATE TABLE claims (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    owner TEXT NOT NULL,
    alive_until REAL NOT NULL,
    kept_until REAL NOT NULL,
    bytes INTEGER NOT NULL DEFAULT 0
)
""",
        "CREATE INDEX claims_by_age ON claims (kept_until)",
        "CREATE TABLE answers (name TEXT PRIMARY KEY, answer BLOB NOT NULL)",
    ),
    migrations={},
)


class SqliteClaims(ClaimStore):
    """Use ``open``. Several processes on one machine may share a file."""

    def __init__(self, worker: SqliteWorker, most_bytes: int = MOST_BYTES) -> None:
        self._worker = worker
        self._most_bytes = most_bytes

    @classmethod
    async def open(cls, file: Path, most_bytes: int = MOST_BYTES) -> SqliteClaims:
        """Opens the file, and makes it where there is none.

        Raises:
            StorageError: It cannot be opened, or was written by a newer version of this gateway.
        """
        try:
            worker = await asyncio.to_thread(SqliteWorker, file, _SCHEMA, name="idempotency-store")
        except DamagedError:
            # A day's answers at most: without them requests can be served, with them they cannot.
            await asyncio.to_thread(_remove, file)
            worker = await asyncio.to_thread(SqliteWorker, file, _SCHEMA, name="idempotency-store")
        return cls(worker, most_bytes)

    async def claim(self, once: Once, owner: str, now: float, alive_until: float) -> Claimed | None:
        def claim(connection: sqlite3.Connection) -> Claimed | None:
            _drop_old(connection, now)
            found = connection.execute(
                "SELECT digest, alive_until, answer FROM claims LEFT JOIN answers USING (name) WHERE name = ?",
                (once.name,),
            ).fetchone()
            if found is not None and not (once.begins and found[1] == 0):
                digest, alive, answer = found
                finished = alive == 0
                return Claimed(digest, alive > now, answer or b"" if finished else None)
            connection.execute("DELETE FROM answers WHERE name = ?", (once.name,))
            connection.execute(
                "INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?, 0)",
                (once.name, once.digest, owner, alive_until, now + once.kept_s),
            )
            return None

        # On the disk before the work begins: a process that dies is not to leave it unclaimed.
        return await self._worker.run(claim)

    async def renew(self, once: Once, owner: str, alive_until: float) -> None:
        await self._worker.run(
            lambda connection: connection.execute(
                "UPDATE claims SET alive_until = ? WHERE name = ? AND owner = ? AND alive_until > 0",
                (alive_until, once.name, owner),
            ),
            Effect.WRITES,
        )

    async def finish(self, once: Once, owner: str, answer: bytes, kept_until: float) -> None:
        def finish(connection: sqlite3.Connection) -> None:
            changed = connection.execute(
                "UPDATE claims SET alive_until = 0, kept_until = ?, bytes = ? WHERE name = ? AND owner = ?",
                (kept_until, len(answer), once.name, owner),
            )
            if changed.rowcount and answer:
                connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (once.name, answer))
                _bound(connection, self._most_bytes)

        await self._worker.run(finish)

    async def forget(self, once: Once, owner: str) -> None:
        await self._worker.run(
            lambda connection: connection.execute(
                "DELETE FROM claims WHERE name = ? AND owner = ? AND alive_until > 0", (once.name, owner)
            )
        )

    async def aclose(self) -> None:
        await self._worker.aclose()


def _drop_old(connection: sqlite3.Connection, now: float) -> None:
    connection.execute(
        "DELETE FROM answers WHERE name IN (SELECT name FROM claims WHERE kept_until < ? ORDER BY kept_until LIMIT 16)",
        (now,),
    )
    connection.execute(
        "DELETE FROM claims WHERE name IN (SELECT name FROM claims WHERE kept_until < ? ORDER BY kept_until LIMIT 16)",
        (now,),
    )


def _bound(connection: sqlite3.Connection, most_bytes: int) -> None:
    (total,) = connection.execute("SELECT TOTAL(bytes) FROM claims").fetchone()
    if total <= most_bytes:
        return
    for name, size in connection.execute(
        "SELECT name, bytes FROM claims WHERE bytes > 0 ORDER BY kept_until"
    ).fetchall():
        connection.execute("DELETE FROM answers WHERE name = ?", (name,))
        connection.execute("UPDATE claims SET bytes = 0 WHERE name = ?", (name,))
        total -= size
        if total <= most_bytes:
            return


def _remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
