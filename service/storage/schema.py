"""The tables of a SQLite file: made in a new file, brought up to date in an older one, refused in a newer one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.storage.errors import StorageError

Migration = Callable[[sqlite3.Connection], None]


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables that this version of the gateway reads and writes.

    Attributes:
        statements: Make every table in an empty file, one SQL statement each.
        migrations: The first brings a file of version 0 (from before files had a version) to version 1, and so on.
            The version of the newest files is the number of migrations.
    """

    statements: Sequence[str] = field(repr=False)
    migrations: Sequence[Migration] = field(repr=False)

    @property
    def version(self) -> int:
        return len(self.migrations)

    def apply(self, connection: sqlite3.Connection, file: Path) -> None:
        """Brings a file to this version, in one transaction: a process that dies in between changes nothing.

        Raises:
            StorageError: A newer version of the gateway wrote it.
            sqlite3.Error: It cannot be read or written.
        """
        if version_of(connection) == self.version:
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Once more: another process may have been first.
            version = version_of(connection)
            if version > self.version:
                raise StorageError(
                    f"{file} was written by a newer version of this gateway: it is a file of version {version}, "
                    f"and this gateway reads files up to version {self.version}. Run the newer one, or name another "
                    "file"
                )
            if version == 0 and not _has_tables(connection):
                for statement in self.statements:
                    connection.execute(statement)
            else:
                for migrate in self.migrations[version:]:
                    migrate(connection)
            connection.execute(f"PRAGMA user_version = {self.version}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def version_of(connection: sqlite3.Connection) -> int:
    """The version that a file says it has; 0 for a new one."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
