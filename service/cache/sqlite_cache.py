"""The cache of a gateway on one machine: one SQLite file."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from service.cache.entries import Entry, StoredResult, dump, parse
from service.cache.sketches import sketch
from service.cache.store import Additions, Bounds, CacheStore, Position, Summary
from service.imaging.perceptual_key import PerceptualKey
from service.storage.errors import StorageError

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

# Sketches are in a table of their own so that following them reads nothing else. Numbers are never used again
# (AUTOINCREMENT), so whoever knows one knows everything before it. Totals are kept by triggers: summing a million
# rows for every new one would take longer than the rest.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    scope TEXT NOT NULL,
    namespace TEXT NOT NULL,
    bucket BLOB NOT NULL,
    direct BLOB NOT NULL UNIQUE,
    look BLOB NOT NULL,
    layout BLOB NOT NULL,
    aspect REAL NOT NULL,
    about TEXT NOT NULL,
    size INTEGER NOT NULL,
    expires REAL NOT NULL,
    used REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_by_namespace ON entries (scope, namespace);
CREATE INDEX IF NOT EXISTS entries_by_expiry ON entries (expires);
CREATE INDEX IF NOT EXISTS entries_by_use ON entries (used);
CREATE TABLE IF NOT EXISTS sketches (
    number INTEGER PRIMARY KEY REFERENCES entries ON DELETE CASCADE,
    sketch BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS images (
    entry INTEGER NOT NULL REFERENCES entries ON DELETE CASCADE,
    position INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (entry, position)
);
CREATE TABLE IF NOT EXISTS totals (entries INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO totals SELECT 0, 0 WHERE NOT EXISTS (SELECT 1 FROM totals);
CREATE TRIGGER IF NOT EXISTS count_added AFTER INSERT ON entries BEGIN
    UPDATE totals SET entries = entries + 1, bytes = bytes + NEW.size;
END;
CREATE TRIGGER IF NOT EXISTS count_removed AFTER DELETE ON entries BEGIN
    UPDATE totals SET entries = entries - 1, bytes = bytes - OLD.size;
END;
"""
_VERSION: Final = 1
_BUSY_TIMEOUT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 5.0
_MOST_ADDITIONS: Final = 20_000
# Removing so many at a time lets look-ups through in between.
_MOST_REMOVED: Final = 200
# What entries leave behind is given back to the file system so many pages (of 4 KiB) at a time.
_MOST_PAGES_FREED: Final = 2_000


class SqliteCache(CacheStore):
    """Use ``open``. Several processes on one machine may share a file."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, bounds: Bounds) -> None:
        self._connection = connection
        self._thread = thread
        self._bounds = bounds

    @classmethod
    async def open(cls, file: Path, bounds: Bounds) -> SqliteCache:
        """Opens the file, and makes it where there is none, readable by its owner only. A file of another version is
        emptied: it was a cache.

        Raises:
            StorageError: It cannot be opened, or is something else.
        """
        # One thread owns the connection: the event loop never waits for the disk, and nobody for a lock of ours.
        thread = ThreadPoolExecutor(1, "cache-store")
        try:
            connection = await asyncio.get_running_loop().run_in_executor(thread, _opened, file)
        except (OSError, sqlite3.Error) as error:
            thread.shutdown(wait=False)
            raise StorageError(f"{file} cannot be opened: {error}") from None
        return cls(connection, thread, bounds)

    async def find(self, direct: bytes, now: float) -> StoredResult | None:
        return await self._run(lambda connection: _read(connection, "direct = ?", direct, now))

    async def read(self, entry_id: str, now: float) -> StoredResult | None:
        return await self._run(lambda connection: _read(connection, "id = ?", entry_id, now))

    async def additions(self, since: Position) -> Additions:
        def read(connection: sqlite3.Connection) -> Additions:
            rows = connection.execute(
                "SELECT number, sketch FROM sketches WHERE number > ? ORDER BY number LIMIT ?",
                (since.number, _MOST_ADDITIONS),
            ).fetchall()
            until = Position(since.life, rows[-1][0]) if rows else since
            return Additions(b"".join(row[1] for row in rows), until, more=len(rows) == _MOST_ADDITIONS)

        return await self._run(read)

    async def summaries(self, entry_ids: Sequence[str], now: float) -> Mapping[str, Summary]:
        marks = ",".join("?" * len(entry_ids))
        query = f"SELECT id, bucket, look, layout, aspect FROM entries WHERE id IN ({marks}) AND expires > ?"  # noqa: S608
        rows = await self._run(lambda connection: connection.execute(query, (*entry_ids, now)).fetchall())
        return {
            entry_id: Summary(bucket, PerceptualKey(look, np.frombuffer(layout, "<f4").reshape(-1, 3)), aspect)
            for entry_id, bucket, look, layout, aspect in rows
        }

    async def put(self, entry: Entry, now: float) -> bool:
        if entry.size > self._bounds.max_bytes:
            return False

        def put(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM entries WHERE direct = ?", (entry.direct,))
            _make_room(connection, self._bounds, entry.size, most=None)
            number = connection.execute(
                "INSERT INTO entries VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    entry.id,
                    entry.scope,
                    entry.namespace,
                    entry.bucket,
                    entry.direct,
                    entry.look.key,
                    entry.look.layout.astype("<f4").tobytes(),
                    entry.aspect,
                    dump(entry.result),
                    entry.size,
                    entry.expires,
                    now,
                ),
            ).lastrowid
            connection.execute(
                "INSERT INTO sketches VALUES (?, ?)", (number, sketch(entry.id, entry.bucket, entry.look))
            )
            connection.executemany(
                "INSERT INTO images VALUES (?, ?, ?)",
                [(number, position, each.image.data) for position, each in enumerate(entry.result.images)],
            )

        await self._run(put)
        return True

    async def delete(self, entry_id: str, scope: str) -> bool:
        removed = await self._run(
            lambda connection: connection.execute("DELETE FROM entries WHERE id = ? AND scope = ?", (entry_id, scope))
        )
        return bool(removed.rowcount)

    async def delete_namespace(self, scope: str, namespace: str) -> int:
        statement = (
            "DELETE FROM entries WHERE number IN (SELECT number FROM entries WHERE scope = ? AND namespace = ? LIMIT ?)"
        )
        return await self._repeatedly(
            lambda connection: connection.execute(statement, (scope, namespace, _MOST_REMOVED)).rowcount
        )

    async def sweep(self, now: float) -> int:
        statement = "DELETE FROM entries WHERE number IN (SELECT number FROM entries WHERE expires <= ? LIMIT ?)"
        expired = await self._repeatedly(
            lambda connection: connection.execute(statement, (now, _MOST_REMOVED)).rowcount
        )
        beyond = await self._repeatedly(lambda connection: _make_room(connection, self._bounds, 0, most=_MOST_REMOVED))
        await self._run(_give_back, transaction=False)
        return expired + beyond

    async def count(self) -> int:
        row = await self._run(lambda connection: connection.execute("SELECT entries FROM totals").fetchone())
        return int(row[0])

    async def aclose(self) -> None:
        # The thread takes nothing more where this has been closed before.
        with contextlib.suppress(RuntimeError):
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown(wait=False)

    async def _repeatedly(self, remove: Work[int]) -> int:
        """Calls ``remove`` in transactions of its own until it removes nothing more."""
        total = 0
        while removed := await self._run(remove):
            total += removed
        return total

    async def _run(self, work: Work[Result], *, transaction: bool = True) -> Result:
        """Does work in a transaction: all of it happens, or nothing."""

        def run() -> Result:
            try:
                if not transaction:
                    return work(self._connection)
                with self._connection:
                    return work(self._connection)
            except (sqlite3.Error, ValueError) as error:
                raise StorageError(f"the database failed: {error}") from error

        try:
            async with asyncio.timeout(_LONGEST_WAIT_S):
                return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except TimeoutError:
            raise StorageError("the database did not answer in time") from None
        except RuntimeError:
            raise StorageError("the store is closed") from None


def _opened(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    connection = sqlite3.connect(file, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
    # Takes effect in a new file only, and before anything else.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    # A power failure may cost the last entries, never the file.
    connection.execute("PRAGMA synchronous = NORMAL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, _VERSION):
        for table in ("images", "sketches", "entries", "totals"):
            connection.execute(f"DROP TABLE IF EXISTS {table}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.executescript(_SCHEMA)
    connection.execute(f"PRAGMA user_version = {_VERSION}")
    return connection


def _read(connection: sqlite3.Connection, condition: str, value: Any, now: float) -> StoredResult | None:
    row = connection.execute(
        f"SELECT number, id, about FROM entries WHERE {condition} AND expires > ?",  # noqa: S608 - of ours, both
        (value, now),
    ).fetchone()
    if row is None:
        return None
    number, entry_id, about = row
    images = connection.execute("SELECT data FROM images WHERE entry = ? ORDER BY position", (number,)).fetchall()
    connection.execute("UPDATE entries SET used = ? WHERE number = ?", (now, number))
    return StoredResult(entry_id, parse(about, [data for (data,) in images]))


def _make_room(connection: sqlite3.Connection, bounds: Bounds, wanted: int, most: int | None) -> int:
    """Removes what was not used for longest until ``wanted`` bytes more are within the bounds; returns how many.

    Args:
        wanted: 0 to come within the bounds without adding anything.
        most: How many to remove at most; None: as many as it takes.
    """
    entries, held = connection.execute("SELECT entries, bytes FROM totals").fetchone()
    too_many = entries + bool(wanted) - bounds.max_entries
    too_large = held + wanted - bounds.max_bytes
    doomed: list[tuple[int]] = []
    if too_many > 0 or too_large > 0:
        for number, size in connection.execute("SELECT number, size FROM entries ORDER BY used, number"):
            if (too_many <= 0 and too_large <= 0) or len(doomed) == most:
                break
            doomed.append((number,))
            too_many -= 1
            too_large -= size
        connection.executemany("DELETE FROM entries WHERE number = ?", doomed)
    return len(doomed)


def _give_back(connection: sqlite3.Connection) -> None:
    # Not execute(): it takes the statement, which has no columns, for done after the first page.
    connection.executescript(f"PRAGMA incremental_vacuum({_MOST_PAGES_FREED})")
