"""The tables that a gateway on one machine keeps its state in."""

from __future__ import annotations

import sqlite3
from typing import Final

from service.governance.rates import SLICES_PER_WINDOW
from service.storage.schema import Schema

_RATES: Final = """
CREATE TABLE rates (
    account TEXT NOT NULL,
    slice INTEGER NOT NULL,
    units INTEGER NOT NULL,
    PRIMARY KEY (account, slice)
) WITHOUT ROWID
"""


def _count_hits_in_slices(connection: sqlite3.Connection) -> None:
    """From version 0, which remembered every hit of a rate limit by itself."""
    units: dict[tuple[str, int], int] = {}
    for key, at, amount in connection.execute("SELECT account, at, amount FROM hits"):
        # Such as ``images/key:alice/10/3600/second``: at most 10 images in 3600 seconds.
        counts, _, rest = key.partition("/")
        owner, _, window_s, _ = rest.rsplit("/", 3)
        account = (f"{owner}:{counts}:{window_s}", int(at * SLICES_PER_WINDOW // int(window_s)))
        units[account] = units.get(account, 0) + amount
    connection.execute(_RATES)
    connection.executemany(
        "INSERT INTO rates VALUES (?, ?, ?)", [(*account, amount) for account, amount in units.items()]
    )
    connection.execute("DROP TABLE hits")


SCHEMA: Final = Schema(
    version=1,
    statements=(
        """
CREATE TABLE spending (
    account TEXT NOT NULL,
    slice INTEGER NOT NULL,
    nanos INTEGER NOT NULL,
    PRIMARY KEY (account, slice)
) WITHOUT ROWID
""",
        """
CREATE TABLE reservations (
    id TEXT PRIMARY KEY,
    made_at REAL NOT NULL
) WITHOUT ROWID
""",
        """
CREATE TABLE virtual_keys (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    enabled INTEGER NOT NULL,
    record TEXT NOT NULL
) WITHOUT ROWID
""",
        _RATES,
    ),
    migrations={0: _count_hits_in_slices},
)
