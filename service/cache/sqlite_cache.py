"""The cache of a gateway on one machine: one SQLite file."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from service.cache.cache_store import START, Additions, Bounds, CacheStore, Position, Summary
from service.cache.entries import Entry, StoredResult, dump, parse
from service.cache.sketches import sketch
from service.cache.sqlite_schema import SCHEMA
from service.imaging.perceptual_key import PerceptualKey
from service.storage.errors import DamagedError, StorageError
from service.storage.schema import version_of
from service.storage.sqlite import Effect, SqliteWorker, Work, companions

log = logging.getLogger("service.cache")

Result = TypeVar("Result")

_MOST_ADDITIONS: Final = 20_000
# Removing so many at a time lets look-ups through in between.
_MOST_REMOVED: Final = 200
# The space of removed entries is given back to the file system so many pages (of 4 KiB) at a time.
_MOST_PAGES_FREED: Final = 2_000


class SqliteCache(CacheStore):
    """Use ``open``. Several processes on one machine may share a file."""

    def __init__(self, file: Path, worker: SqliteWorker, bounds: Bounds) -> None:
        self._file = file
        self._worker = worker
        self._inode = file.stat().st_ino
        self._bounds = bounds
        self._replacing = asyncio.Lock()

    @classmethod
    async def open(cls, file: Path, bounds: Bounds) -> SqliteCache:
        """Opens the file, and makes it where there is none, readable by its owner only.

        A damaged file is set aside under another name, and a new one begun. A file that another version of this
        gateway wrote is left to it, and another one begun beside it.

        Raises:
            StorageError: It cannot be opened.
        """
        return await asyncio.to_thread(cls._opened, file, bounds)

    @classmethod
    def _opened(cls, file: Path, bounds: Bounds) -> SqliteCache:
        file = _of_this_version(file)
        return cls(file, _working(file), bounds)

    async def find(self, direct: bytes, now: float) -> StoredResult | None:
        return await self._run(lambda connection: _read(connection, "direct = ?", direct, now))

    async def read(self, entry_id: str, now: float) -> StoredResult | None:
        return await self._run(lambda connection: _read(connection, "id = ?", entry_id, now))

    async def additions(self, since: Position) -> Additions:
        def read(connection: sqlite3.Connection) -> Additions:
            (life,) = connection.execute("SELECT life FROM lives").fetchone()
            known = since.number if life == since.life else 0
            rows = connection.execute(
                "SELECT number, sketch FROM sketches WHERE number > ? ORDER BY number LIMIT ?",
                (known, _MOST_ADDITIONS),
            ).fetchall()
            number = rows[-1][0] if rows else known
            sketches = b"".join(row[1] for row in rows)
            anew = life != since.life and since != START
            return Additions(sketches, Position(life, number), more=len(rows) == _MOST_ADDITIONS, anew=anew)

        return await self._run(read, Effect.READS)

    async def summaries(self, entry_ids: Sequence[str], now: float) -> Mapping[str, Summary]:
        marks = ",".join("?" * len(entry_ids))
        query = f"SELECT id, bucket, look, layout, aspect FROM entries WHERE id IN ({marks}) AND expires > ?"  # noqa: S608
        rows = await self._run(lambda connection: connection.execute(query, (*entry_ids, now)).fetchall(), Effect.READS)
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
        statement = "DELETE FROM entries WHERE id = ? AND scope = ?"
        return bool(await self._run(lambda connection: connection.execute(statement, (entry_id, scope)).rowcount))

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
        await self._repeatedly(_give_back)
        return expired + beyond

    async def count(self) -> int:
        statement = "SELECT entries FROM totals"
        (entries,) = await self._run(lambda connection: connection.execute(statement).fetchone(), Effect.READS)
        return int(entries)

    async def aclose(self) -> None:
        await self._worker.aclose()

    async def _repeatedly(self, remove: Work[int]) -> int:
        """Calls ``remove`` in transactions of its own until it removes nothing more."""
        total = 0
        while removed := await self._run(remove):
            total += removed
        return total

    async def _run(self, work: Work[Result], effect: Effect = Effect.WRITES) -> Result:
        """Does work in a transaction. A file that turns out to be damaged is replaced; this work fails all the same."""
        worker = self._worker
        try:
            return await worker.run(work, effect)
        except DamagedError:
            await self._replace(worker)
            raise
        except ValueError as error:
            raise StorageError(f"an entry cannot be read: {error}") from error

    async def _replace(self, damaged: SqliteWorker) -> None:
        async with self._replacing:
            # Once for all who met with the damage.
            if self._worker is damaged:
                await damaged.aclose()
                self._worker = await asyncio.to_thread(self._another_worker)

    def _another_worker(self) -> SqliteWorker:
        # Another process may have set the file aside: then the one that it began is used.
        damaged = self._file.exists() and self._file.stat().st_ino == self._inode
        worker = _replaced(self._file) if damaged else _working(self._file)
        self._inode = self._file.stat().st_ino
        return worker


def _of_this_version(file: Path) -> Path:
    """The file itself, or one beside it where another version of this gateway keeps its cache in it."""
    try:
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error:
        # There is none yet, or opening it in earnest will tell what is wrong.
        return file
    try:
        version = version_of(connection)
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        return file
    finally:
        connection.close()
    if version == SCHEMA.version or not tables:
        return file
    beside = file.with_name(f"{file.stem}.v{SCHEMA.version}{file.suffix}")
    log.warning(
        "the cache file is that of another version of this gateway; remove it once no such version runs any more",
        extra={"fields": {"file": str(file), "used_instead": str(beside)}},
    )
    return beside


def _working(file: Path) -> SqliteWorker:
    try:
        return SqliteWorker(file, SCHEMA, name="cache-store", gives_back=True)
    except DamagedError:
        return _replaced(file)


def _replaced(file: Path) -> SqliteWorker:
    """A new file in place of one that is damaged, which is kept under another name."""
    aside = file.with_name(f"{file.name}.damaged-{int(time.time())}")
    try:
        for path in companions(file):
            if path.exists():
                path.rename(aside.with_name(aside.name + path.name.removeprefix(file.name)))
    except OSError as error:
        raise StorageError(f"{file} is damaged and cannot be set aside: {error.strerror}") from None
    log.error(
        "the cache file is damaged; it was set aside, and a new one begun",
        extra={"fields": {"file": str(file), "set_aside_as": str(aside)}},
    )
    return SqliteWorker(file, SCHEMA, name="cache-store", gives_back=True)


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


def _give_back(connection: sqlite3.Connection) -> int:
    """Gives pages that entries left behind back to the file system; returns how many."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    pages = min(int(free), _MOST_PAGES_FREED)
    for _ in range(pages):
        # One by one: ``execute`` takes this statement, which has no columns, for done after the first page.
        connection.execute("PRAGMA incremental_vacuum(1)")
    return pages
