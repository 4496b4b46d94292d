"""One file, several workers: whole pieces of work, in turns, in a file whose version is known."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from service.storage.errors import DamagedError, StorageError
from service.storage.schema import Schema
from service.storage.sqlite import Effect, SqliteWorker

COUNTERS = Schema(1, ("CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",), {})


def rename_value(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE counters RENAME COLUMN value TO amount")


AMOUNTS = Schema(2, ("CREATE TABLE counters (name TEXT PRIMARY KEY, amount INTEGER NOT NULL)",), {1: rename_value})


def opened(file: Path, schema: Schema = COUNTERS) -> SqliteWorker:
    return SqliteWorker(file, schema, name="test")


def add(connection: sqlite3.Connection) -> int:
    (value,) = connection.execute(
        "INSERT INTO counters VALUES ('a', 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value"
    ).fetchone()
    return int(value)


def rows(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    return connection.execute("SELECT * FROM counters").fetchall()


class TestWork:
    @pytest.mark.parametrize("effect", [Effect.WRITES, Effect.ENDURES])
    async def test_what_was_written_is_there_for_others(self, tmp_path: Path, effect: Effect) -> None:
        one, other = opened(tmp_path / "file"), opened(tmp_path / "file")
        assert await one.run(add, effect) == 1
        assert await other.run(add, effect) == 2
        assert await one.run(rows, Effect.READS) == [("a", 2)]
        await one.aclose()
        await other.aclose()

    async def test_what_fails_leaves_nothing_and_spoils_nothing_that_shares_its_commit(self, tmp_path: Path) -> None:
        def fail(connection: sqlite3.Connection) -> None:
            add(connection)
            raise ValueError("no")

        worker = opened(tmp_path / "file")
        answers = await asyncio.gather(
            worker.run(add), worker.run(fail), worker.run(add, Effect.WRITES), return_exceptions=True
        )
        assert (answers[0], str(answers[1]), answers[2]) == (1, "no", 2)
        await worker.aclose()

    async def test_readers_do_not_wait_for_a_writer_of_another_process(self, tmp_path: Path) -> None:
        worker = opened(tmp_path / "file")
        await worker.run(add)
        with sqlite3.connect(tmp_path / "file", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await worker.run(rows, Effect.READS) == [("a", 1)]
            other.execute("ROLLBACK")
        other.close()
        await worker.aclose()

    async def test_a_process_that_died_in_its_turn_holds_nobody_up(self, tmp_path: Path) -> None:
        program = f"""
            import os, pathlib
            from service.storage.turns import Turns
            with Turns(pathlib.Path({str(tmp_path / "file")!r})).turn():
                os._exit(0)
            """
        command = [sys.executable, "-c", textwrap.dedent(program)]
        await asyncio.to_thread(subprocess.run, command, check=True, cwd=Path(__file__).parents[3])
        worker = opened(tmp_path / "file")
        assert await worker.run(add) == 1
        await worker.aclose()

    async def test_every_process_gets_its_turn(self, tmp_path: Path) -> None:
        """A process that always has more to write does not keep another one from writing."""
        busy, modest = opened(tmp_path / "file"), opened(tmp_path / "file")
        done = asyncio.Event()

        async def hurry() -> None:
            while not done.is_set():
                await busy.run(add, Effect.WRITES)

        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(hurry())
            commits_at = [await modest.run(add, Effect.WRITES) for _ in range(20)]
            done.set()
        # Between two of its turns the other one had a few commits of at most 50 each, not hundreds.
        longest = max(after - before for before, after in itertools.pairwise(commits_at))
        assert longest < 50 * 20
        await busy.aclose()
        await modest.aclose()


class TestVersions:
    async def test_an_older_file_is_brought_up_to_date(self, tmp_path: Path) -> None:
        older = opened(tmp_path / "file")
        await older.run(add)
        await older.aclose()
        newer = opened(tmp_path / "file", AMOUNTS)
        assert await newer.run(lambda connection: connection.execute("SELECT amount FROM counters").fetchone()) == (1,)
        await newer.aclose()

    async def test_a_newer_file_is_refused_in_a_sentence_and_left_as_it_is(self, tmp_path: Path) -> None:
        newer = opened(tmp_path / "file", AMOUNTS)
        await newer.aclose()
        with pytest.raises(StorageError, match="written by a newer version of this gateway: it is a file of version 2"):
            opened(tmp_path / "file")
        again = opened(tmp_path / "file", AMOUNTS)
        assert await again.run(rows) == []
        await again.aclose()

    async def test_an_older_file_that_cannot_be_brought_up_to_date_is_refused(self, tmp_path: Path) -> None:
        await opened(tmp_path / "file").aclose()
        with pytest.raises(StorageError, match="of version 1, which this gateway cannot read"):
            opened(tmp_path / "file", Schema(2, AMOUNTS.statements, {}))

    async def test_a_migration_that_fails_changes_nothing(self, tmp_path: Path) -> None:
        def fail(connection: sqlite3.Connection) -> None:
            rename_value(connection)
            raise sqlite3.OperationalError("disk is full")

        await opened(tmp_path / "file").aclose()
        with pytest.raises(StorageError, match="disk is full"):
            opened(tmp_path / "file", Schema(2, AMOUNTS.statements, {1: fail}))
        worker = opened(tmp_path / "file")
        assert await worker.run(add) == 1
        await worker.aclose()

    async def test_several_at_once_make_it_once(self, tmp_path: Path) -> None:
        workers = await asyncio.gather(*(asyncio.to_thread(opened, tmp_path / "file") for _ in range(8)))
        for number, worker in enumerate(workers):
            assert await worker.run(add) == number + 1
            await worker.aclose()

    def test_what_is_no_database_is_damaged(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"something else" * 100)
        with pytest.raises(DamagedError, match="cannot be opened"):
            opened(tmp_path / "file")
