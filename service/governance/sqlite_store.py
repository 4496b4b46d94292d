"""The store of a gateway on one machine: one SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from service.governance import records
from service.governance.keys import VirtualKey, digest_text
from service.governance.sqlite_schema import SCHEMA
from service.governance.store import Counted, NameTakenError, RateCharge, Refused, Reservation, Store
from service.storage.errors import DamagedError, StorageError
from service.storage.sqlite import Effect, SqliteWorker

# No request takes this long; a reservation older than this belongs to a process that died.
_ABANDONED_AFTER_S = 2 * 86_400


class SqliteStore(Store):
    """Use ``open``. Several processes on one machine may share a file."""

    def __init__(self, worker: SqliteWorker) -> None:
        self._worker = worker

    @classmethod
    async def open(cls, file: Path) -> SqliteStore:
        """Opens the file, makes it where there is none, and forgets reservations that nobody will settle any more.

        Raises:
            StorageError: It cannot be opened, is damaged, or was written by a newer version of this gateway.
        """
        try:
            worker = await asyncio.to_thread(SqliteWorker, file, SCHEMA, name="governance-store")
        except DamagedError as error:
            # Never begun anew by itself: it holds keys and what they have spent.
            raise StorageError(
                f"{error}. It holds keys and budgets, so it is left as it is: restore it from a backup, or move it "
                "away to begin with no keys and nothing spent"
            ) from None
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
                    "DELETE FROM spending WHERE account = ? AND slice < ?", (charge.account, charge.kept_since)
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
        return await self._worker.run(lambda connection: _spent(connection, account, first_slice), Effect.READS)

    async def count(self, charges: Sequence[RateCharge]) -> Counted:
        def count(connection: sqlite3.Connection) -> Counted:
            units = [_units(connection, charge) for charge in charges]
            for position, (charge, used) in enumerate(zip(charges, units, strict=True)):
                if charge.units and sum(used.values()) + charge.units > charge.limit:
                    return Counted(position, tuple(units))
            for charge, used in zip(charges, units, strict=True):
                if charge.units:
                    _add_units(connection, charge)
                    used[charge.current_slice] = used.get(charge.current_slice, 0) + charge.units
            return Counted(None, tuple(units))

        looks = not any(charge.units for charge in charges)
        # Nothing is paid by a rate limit: what the last moments before a power failure counted may be forgotten.
        return await self._worker.run(count, Effect.READS if looks else Effect.WRITES)

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
            lambda connection: connection.execute("SELECT 1 FROM virtual_keys LIMIT 1").fetchone() is not None,
            Effect.READS,
        )

    async def disable_key(self, name: str) -> bool:
        return await self._change("UPDATE virtual_keys SET enabled = 0 WHERE name = ?", name)

    async def enable_key(self, name: str) -> bool:
        return await self._change("UPDATE virtual_keys SET enabled = 1 WHERE name = ?", name)

    async def update_key(self, key: VirtualKey) -> bool:
        values = (records.dump(key), key.name, digest_text(key.digest))
        return await self._change("UPDATE virtual_keys SET record = ? WHERE name = ? AND digest = ?", *values)

    async def delete_key(self, name: str) -> bool:
        return await self._change("DELETE FROM virtual_keys WHERE name = ?", name)

    async def _change(self, statement: str, *values: str) -> bool:
        """Runs a statement about one key; whether there is such a key."""
        return await self._worker.run(lambda connection: bool(connection.execute(statement, values).rowcount))

    async def aclose(self) -> None:
        await self._worker.aclose()

    async def _keys(self, condition: str, *values: str) -> Sequence[VirtualKey]:
        query = f"SELECT record, enabled FROM virtual_keys {condition}"  # noqa: S608 - no condition comes from outside
        rows = await self._worker.run(lambda connection: connection.execute(query, values).fetchall(), Effect.READS)
        try:
            return tuple(records.parse(record, enabled=bool(enabled)) for record, enabled in rows)
        except ValueError as error:
            raise StorageError(f"a key's record cannot be read: {error}") from None


def _spent(connection: sqlite3.Connection, account: str, first_slice: int) -> Mapping[int, int]:
    rows = connection.execute(
        "SELECT slice, nanos FROM spending WHERE account = ? AND slice >= ?", (account, first_slice)
    )
    return dict(rows.fetchall())


def _units(connection: sqlite3.Connection, charge: RateCharge) -> dict[int, int]:
    rows = connection.execute(
        "SELECT slice, units FROM rates WHERE account = ? AND slice BETWEEN ? AND ?",
        (charge.account, charge.first_slice, charge.last_slice),
    )
    return dict(rows.fetchall())


def _add_units(connection: sqlite3.Connection, charge: RateCharge) -> None:
    row = (charge.account, charge.current_slice, charge.units)
    added = connection.execute("UPDATE rates SET units = units + ?3 WHERE account = ?1 AND slice = ?2", row).rowcount
    if not added:
        connection.execute("INSERT INTO rates VALUES (?, ?, ?)", row)
        # With a new slice an old one goes, so that an account never has more than a few windows' worth of them.
        connection.execute("DELETE FROM rates WHERE account = ? AND slice < ?", (charge.account, charge.kept_since))


def _charge(connection: sqlite3.Connection, reservation: Reservation, nanos: int) -> None:
    connection.executemany(
        "INSERT INTO spending VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET nanos = nanos + excluded.nanos",
        [(charge.account, charge.current_slice, nanos) for charge in reservation.charges],
    )
