"""The store of a gateway on one machine: one SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from limits.aio.strategies import MovingWindowRateLimiter

from service.governance import records
from service.governance.keys import VirtualKey, digest_text
from service.governance.rates import RateAccount
from service.governance.sqlite_rates import SCHEMA as RATES_SCHEMA
from service.governance.sqlite_rates import SqliteRates
from service.governance.store import NameTakenError, Refused, Reservation, Store, Usage
from service.storage.errors import StorageError
from service.storage.sqlite import SqliteWorker

_SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS spending (
    account TEXT NOT NULL,
    slice INTEGER NOT NULL,
    nanos INTEGER NOT NULL,
    PRIMARY KEY (account, slice)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reservations (
    id TEXT PRIMARY KEY,
    made_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS virtual_keys (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    enabled INTEGER NOT NULL,
    record TEXT NOT NULL
) WITHOUT ROWID;
"""
    + RATES_SCHEMA
)
# No request takes this long; a reservation older than this belongs to a process that died.
_ABANDONED_AFTER_S = 2 * 86_400


class SqliteStore(Store):
    """Use ``open``. Several processes on one machine may share a file."""

    def __init__(self, worker: SqliteWorker) -> None:
        self._worker = worker
        self._rates = SqliteRates(worker)
        self._limiter = MovingWindowRateLimiter(self._rates)

    @classmethod
    async def open(cls, file: Path) -> SqliteStore:
        """Opens the file, makes it where there is none, and forgets reservations that nobody will settle any more.

        Raises:
            StorageError: It cannot be opened, or is something else.
        """
        worker = await asyncio.to_thread(SqliteWorker, file, _SCHEMA)
        abandoned = time.time() - _ABANDONED_AFTER_S
        await worker.run(
            lambda connection: connection.execute("DELETE FROM reservations WHERE made_at < ?", (abandoned,))
        )
        return cls(worker)

    async def reserve(self, reservation: Reservation) -> Refused | None:
        def reserve(connection: sqlite3.Connection) -> Refused | None:
            known = connection.execute("SELECT 1 FROM reservations WHERE id = ?", (reservation.id,)).fetchone()
            if known is not None:
                return None
            for position, charge in enumerate(reservation.charges):
                connection.execute(
                    "DELETE FROM spending WHERE account = ? AND slice < ?", (charge.account, charge.first_slice)
                )
                spent = _spent(connection, charge.account, charge.first_slice)
                if reservation.nanos and sum(spent.values()) + reservation.nanos > charge.limit_nanos:
                    return Refused(position, spent)
            _charge(connection, reservation, reservation.nanos)
            connection.execute("INSERT INTO reservations VALUES (?, ?)", (reservation.id, reservation.made_at))
            return None

        return await self._worker.run(reserve)

    async def settle(self, reservation: Reservation, nanos: int) -> None:
        def settle(connection: sqlite3.Connection) -> None:
            if connection.execute("DELETE FROM reservations WHERE id = ?", (reservation.id,)).rowcount:
                _charge(connection, reservation, nanos - reservation.nanos)

        await self._worker.run(settle)

    async def spent(self, account: str, first_slice: int) -> Mapping[int, int]:
        return await self._worker.run(lambda connection: _spent(connection, account, first_slice))

    async def hit(self, account: RateAccount, cost: int) -> bool:
        return await self._limiter.hit(account.rate.item, account.owner, cost=cost)

    async def usage(self, account: RateAccount, depth: int) -> Usage:
        since, count = await self._rates.get_moving_window(account.key(), depth, account.rate.window_s)
        return Usage(count, since)

    async def add_key(self, key: VirtualKey) -> None:
        row = (key.name, digest_text(key.digest), key.enabled, records.dump(key))

        def add(connection: sqlite3.Connection) -> bool:
            return bool(connection.execute("INSERT OR IGNORE INTO virtual_keys VALUES (?, ?, ?, ?)", row).rowcount)

        if not await self._worker.run(add):
            raise NameTakenError(key.name)

    async def find_key(self, digest: bytes) -> VirtualKey | None:
        found = await self._keys("WHERE digest = ?", digest_text(digest))
        return found[0] if found else None

    async def keys(self) -> Sequence[VirtualKey]:
        return await self._keys("ORDER BY name")

    async def has_keys(self) -> bool:
        return await self._worker.run(
            lambda connection: connection.execute("SELECT 1 FROM virtual_keys LIMIT 1").fetchone() is not None
        )

    async def disable_key(self, name: str) -> bool:
        def disable(connection: sqlite3.Connection) -> bool:
            return bool(connection.execute("UPDATE virtual_keys SET enabled = 0 WHERE name = ?", (name,)).rowcount)

        return await self._worker.run(disable)

    async def aclose(self) -> None:
        await self._worker.aclose()

    async def _keys(self, condition: str, *values: str) -> Sequence[VirtualKey]:
        query = f"SELECT record, enabled FROM virtual_keys {condition}"  # noqa: S608 - no condition comes from outside
        rows = await self._worker.run(lambda connection: connection.execute(query, values).fetchall())
        try:
            return tuple(records.parse(record, enabled=bool(enabled)) for record, enabled in rows)
        except ValueError as error:
            raise StorageError(f"a key's record cannot be read: {error}") from None


def _spent(connection: sqlite3.Connection, account: str, first_slice: int) -> Mapping[int, int]:
    rows = connection.execute(
        "SELECT slice, nanos FROM spending WHERE account = ? AND slice >= ?", (account, first_slice)
    )
    return dict(rows.fetchall())


def _charge(connection: sqlite3.Connection, reservation: Reservation, nanos: int) -> None:
    connection.executemany(
        "INSERT INTO spending VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET nanos = nanos + excluded.nanos",
        [(charge.account, charge.current_slice, nanos) for charge in reservation.charges],
    )
