"""The tables of a SQLite file: made in a new file, brought up to date in an older one, refused in any other."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.storage.errors import StorageError

Migration = Callable[[sqlite3.Connection], None]


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables that this version of the gateway reads and writes.

    Attributes:
        version: Of the files that it makes; at least 1. Files from before files had a version are of version 0.
        statements: Make every table in an empty file, one SQL statement each.
        migrations: By version: brings a file of that version to the next one.
    """

    version: int
    statements: Sequence[str] = field(repr=False)
    migrations: Mapping[int, Migration] = field(repr=False)

    def apply(self, connection: sqlite3.Connection, file: Path) -> None:
        """Brings a file to this version, in one transaction: a process that dies in between changes nothing.

        Raises:
            StorageError: A newer version of the gateway wrote it, or one that is too old.
            sqlite3.Error: It cannot be read or written.
        """
        if version_of(connection) == self.version:
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Once more: another process may have been first.
            version = version_of(connection)
            if version == 0 and not _has_tables(connection):
                for statement in self.statements:
                    connection.execute(statement)
            else:
                self._migrate(connection, version, file)
            connection.execute(f"PRAGMA user_version = {self.version}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _migrate(self, connection: sqlite3.Connection, version: int, file: Path) -> None:
        if version > self.version:
            raise StorageError(
                f"{file} was written by a newer version of this gateway: it is a file of version {version}, and this "
                f"gateway reads files up to version {self.version}. Run the newer gateway, or name another file"
            )
        for step in range(version, self.version):
            if step not in self.migrations:
                raise StorageError(f"{file} is a file of version {version}, which this gateway cannot read")
            self.migrations[step](connection)


def version_of(connection: sqlite3.Connection) -> int:
    """The version that a file says it has; 0 for a new one."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
