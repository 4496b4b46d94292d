"""The tables of a result cache on one machine."""

from __future__ import annotations

from typing import Final

from service.storage.schema import Schema

# Sketches are in a table of their own so that following them reads nothing else. Numbers are never used again
# (AUTOINCREMENT): an index that has read one has read all before it, as long as the file has the same life. Totals are
# kept by triggers: summing a million rows for every new one would take longer than the rest.
SCHEMA: Final = Schema(
    version=2,
    statements=(
        """
CREATE TABLE entries (
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
)
""",
        "CREATE INDEX entries_by_namespace ON entries (scope, namespace)",
        "CREATE INDEX entries_by_expiry ON entries (expires)",
        "CREATE INDEX entries_by_use ON entries (used)",
        """
CREATE TABLE sketches (
    number INTEGER PRIMARY KEY REFERENCES entries ON DELETE CASCADE,
    sketch BLOB NOT NULL
)
""",
        """
CREATE TABLE images (
    entry INTEGER NOT NULL REFERENCES entries ON DELETE CASCADE,
    position INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (entry, position)
)
""",
        "CREATE TABLE totals (entries INTEGER NOT NULL, bytes INTEGER NOT NULL)",
        "INSERT INTO totals VALUES (0, 0)",
        """
CREATE TRIGGER count_added AFTER INSERT ON entries BEGIN
    UPDATE totals SET entries = entries + 1, bytes = bytes + NEW.size;
END
""",
        """
CREATE TRIGGER count_removed AFTER DELETE ON entries BEGIN
    UPDATE totals SET entries = entries - 1, bytes = bytes - OLD.size;
END
""",
        "CREATE TABLE lives (life BLOB NOT NULL)",
        "INSERT INTO lives VALUES (randomblob(16))",
    ),
    # It is a cache: a file of another version is left to that version, and one of this version is begun beside it.
    migrations={},
)
