"""The file that keys and budgets are kept in: brought up to date, and never thrown away."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from service.governance.rates import Counts, Rate, RateAccount
from service.governance.sqlite_store import SqliteStore
from service.governance.store import RateCharge
from service.storage.errors import StorageError

# As files were before they had a version.
_VERSION_0 = """
CREATE TABLE spending (
    account TEXT NOT NULL, slice INTEGER NOT NULL, nanos INTEGER NOT NULL, PRIMARY KEY (account, slice)
) WITHOUT ROWID;
CREATE TABLE reservations (id TEXT PRIMARY KEY, made_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE virtual_keys (
    name TEXT PRIMARY KEY, digest TEXT NOT NULL UNIQUE, enabled INTEGER NOT NULL, record TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE hits (account TEXT NOT NULL, at REAL NOT NULL, amount INTEGER NOT NULL);
CREATE INDEX hits_by_account ON hits (account, at);
INSERT INTO spending VALUES ('key:alice:1d:rolling', 3600, 5);
"""


async def test_a_file_of_the_first_version_keeps_its_spending_and_its_rates(tmp_path: Path) -> None:
    file, now = tmp_path / "state.sqlite3", time.time()
    with sqlite3.connect(file) as connection:
        connection.executescript(_VERSION_0)
        connection.executemany(
            "INSERT INTO hits VALUES (?, ?, ?)",
            [("images/key:alice/10/3600/second", now - 1, 3), ("images/key:alice/10/3600/second", now - 7200, 4)],
        )
    connection.close()

    store = await SqliteStore.open(file)
    assert await store.spent("key:alice:1d:rolling", 0) == {3600: 5}
    images = RateAccount("key:alice", Rate(Counts.IMAGES, 10, 3600))
    counted = await store.count([RateCharge.at(images, 0, now)])
    assert sum(counted.units[0].values()) == 3
    await store.aclose()


async def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite3"
    file.write_bytes(b"something else" * 100)
    with pytest.raises(StorageError, match="restore it from a backup, or move it away") as caught:
        await SqliteStore.open(file)
    assert str(file) in str(caught.value)
    assert file.read_bytes() == b"something else" * 100


async def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite3"
    await (await SqliteStore.open(file)).aclose()
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(StorageError, match="newer version of this gateway"):
        await SqliteStore.open(file)
