"""The promises of both stores: whole entries, bounds, expiry, tenants apart, every addition told to every replica."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis_cluster import Cluster, redis_cluster  # noqa: F401  # fixtures
from redis_server import RedisServer

from service.cache.cache_store import START, Bounds, CacheStore
from service.cache.entries import Entry
from service.cache.redis_cache import RedisCache
from service.cache.sketches import SKETCH, sketch
from service.cache.sqlite_cache import SqliteCache
from service.storage.errors import StorageError

OpenStore = Callable[..., Coroutine[Any, Any, CacheStore]]
MakeEntry = Callable[..., Entry]

ROOMY = Bounds(max_bytes=10**9, max_entries=10**9)


def ids_of(sketches: bytes) -> list[str]:
    return [bytes(each).hex() for each in np.frombuffer(sketches, SKETCH)["id"].tolist()]


async def all_ids(store: CacheStore) -> list[str]:
    added = await store.additions(START)
    assert not added.more
    return ids_of(added.sketches)


class TestKeeping:
    async def test_what_was_put_comes_back_whole(self, store: CacheStore, make_entry: MakeEntry) -> None:
        entry = make_entry(images=(b"\x00first\xff", b"", b"third" * 1000))
        assert await store.put(entry, now=0.0)

        for found in (await store.find(entry.direct, 1.0), await store.read(entry.id, 1.0)):
            assert found is not None
            assert found.id == entry.id
            assert found.result == entry.result

    async def test_what_was_not_put_is_not_found(self, store: CacheStore, make_entry: MakeEntry) -> None:
        await store.put(make_entry(1), 0.0)
        other = make_entry(2)
        assert await store.find(other.direct, 1.0) is None
        assert await store.read(other.id, 1.0) is None

    async def test_another_process_finds_it_too(self, open_store: OpenStore, make_entry: MakeEntry) -> None:
        entry = make_entry()
        await (await open_store()).put(entry, 0.0)
        assert await (await open_store()).find(entry.direct, 1.0) is not None

    async def test_the_newer_result_replaces_the_older(self, store: CacheStore, make_entry: MakeEntry) -> None:
        older, newer = make_entry(images=(b"older",)), make_entry(images=(b"newer",))
        assert older.direct == newer.direct
        await store.put(older, 0.0)
        await store.put(newer, 1.0)

        found = await store.find(older.direct, 2.0)
        assert found is not None
        assert found.id == newer.id
        assert await store.read(older.id, 2.0) is None
        assert await all_ids(store) == [newer.id]
        assert await store.count() == 1

    async def test_what_decides_a_hit_is_told_without_the_images(
        self, store: CacheStore, make_entry: MakeEntry
    ) -> None:
        entry, expired = make_entry(1, aspect=1.5), make_entry(2, expires=1.0)
        await store.put(entry, 0.0)
        await store.put(expired, 0.0)

        known = await store.summaries([entry.id, expired.id, "0" * 32], now=2.0)

        assert set(known) == {entry.id}
        summary = known[entry.id]
        assert (summary.bucket, summary.aspect, summary.look.key) == (entry.bucket, 1.5, entry.look.key)
        assert np.array_equal(summary.look.layout, entry.look.layout)


class TestExpiry:
    async def test_an_expired_entry_is_not_served(self, store: CacheStore, make_entry: MakeEntry) -> None:
        entry = make_entry(expires=10.0)
        await store.put(entry, 0.0)
        assert await store.find(entry.direct, 9.9) is not None
        assert await store.find(entry.direct, 10.0) is None
        assert await store.read(entry.id, 10.0) is None

    async def test_a_sweep_removes_what_has_expired_and_nothing_else(
        self, store: CacheStore, make_entry: MakeEntry
    ) -> None:
        kept, expired = make_entry(1, expires=20.0), make_entry(2, expires=10.0)
        await store.put(kept, 0.0)
        await store.put(expired, 0.0)

        assert await store.sweep(15.0) == 1
        assert await all_ids(store) == [kept.id]
        assert await store.count() == 1

    async def test_a_sweep_gets_through_however_much_there_is(self, store: CacheStore, make_entry: MakeEntry) -> None:
        for picture in range(250):
            await store.put(make_entry(parameters={"picture": picture}, expires=1.0), 0.0)
        assert await store.sweep(2.0) == 250
        assert await store.count() == 0


class TestBounds:
    async def test_what_was_not_used_for_longest_goes_first(self, open_store: OpenStore, make_entry: MakeEntry) -> None:
        store = await open_store(Bounds(max_bytes=10**9, max_entries=3))
        entries = [make_entry(picture) for picture in range(4)]
        for now, entry in enumerate(entries[:3]):
            await store.put(entry, float(now))
        assert await store.find(entries[0].direct, 10.0) is not None
        assert await store.read(entries[1].id, 11.0) is not None

        await store.put(entries[3], 12.0)

        found = [await store.find(entry.direct, 13.0) is not None for entry in entries]
        assert found == [True, True, False, True]

    async def test_bytes_are_bounded_too(self, open_store: OpenStore, make_entry: MakeEntry) -> None:
        size = make_entry(images=(bytes(10_000),)).size
        store = await open_store(Bounds(max_bytes=3 * size, max_entries=100))
        entries = [make_entry(picture, images=(bytes(10_000),)) for picture in range(6)]
        for now, entry in enumerate(entries):
            await store.put(entry, float(now))
        assert await all_ids(store) == [entry.id for entry in entries[3:]]

        twice = make_entry(7, images=(bytes(size + 10_000),))
        assert twice.size == 2 * size
        await store.put(twice, 10.0)
        assert await all_ids(store) == [entries[5].id, twice.id]

    async def test_what_is_larger_than_all_room_is_not_kept_and_pushes_nothing_out(
        self, open_store: OpenStore, make_entry: MakeEntry
    ) -> None:
        store = await open_store(Bounds(max_bytes=20_000, max_entries=100))
        small, large = make_entry(1), make_entry(2, images=(bytes(20_000),))
        assert await store.put(small, 0.0)
        assert not await store.put(large, 1.0)
        assert await all_ids(store) == [small.id]

    async def test_narrower_bounds_take_effect_with_the_next_sweep(
        self, open_store: OpenStore, make_entry: MakeEntry
    ) -> None:
        wide = await open_store()
        entries = [make_entry(parameters={"picture": picture}) for picture in range(250)]
        for now, entry in enumerate(entries):
            await wide.put(entry, float(now))
        narrow = await open_store(Bounds(max_bytes=10**9, max_entries=2))
        assert await narrow.sweep(999.0) == 248
        assert await all_ids(narrow) == [entry.id for entry in entries[-2:]]

    async def test_replacing_an_entry_needs_no_further_room(self, open_store: OpenStore, make_entry: MakeEntry) -> None:
        store = await open_store(Bounds(max_bytes=10**9, max_entries=2))
        first, second, again = make_entry(1), make_entry(2), make_entry(2)
        for now, entry in enumerate((first, second, again)):
            await store.put(entry, float(now))
        assert await all_ids(store) == [first.id, again.id]


class TestDeleting:
    async def test_only_the_owner_can_delete_an_entry(self, store: CacheStore, make_entry: MakeEntry) -> None:
        entry = make_entry(scope="alice")
        await store.put(entry, 0.0)
        assert not await store.delete(entry.id, "mallory")
        assert await store.find(entry.direct, 1.0) is not None
        assert await store.delete(entry.id, "alice")
        assert await store.find(entry.direct, 1.0) is None
        assert await all_ids(store) == []
        assert not await store.delete(entry.id, "alice")

    async def test_a_namespace_goes_as_a_whole_and_alone(self, store: CacheStore, make_entry: MakeEntry) -> None:
        doomed = [make_entry(picture, namespace="drafts") for picture in range(3)]
        others = [make_entry(0), make_entry(0, scope="bob", namespace="drafts"), make_entry(0, scope="alicedrafts")]
        for entry in (*doomed, *others):
            await store.put(entry, 0.0)

        assert await store.delete_namespace("alice", "drafts") == 3
        assert await all_ids(store) == [entry.id for entry in others]
        assert await store.delete_namespace("alice", "drafts") == 0

    async def test_a_namespace_may_be_large(self, store: CacheStore, make_entry: MakeEntry) -> None:
        for picture in range(450):
            await store.put(make_entry(parameters={"picture": picture}), 0.0)
        assert await store.delete_namespace("alice", "default") == 450
        assert await store.count() == 0


class TestFollowing:
    async def test_additions_are_told_once_and_in_order(self, open_store: OpenStore, make_entry: MakeEntry) -> None:
        writer, reader = await open_store(), await open_store()
        first, second, third = (make_entry(picture) for picture in range(3))
        await writer.put(first, 0.0)
        await writer.put(second, 0.0)
        begin = await reader.additions(START)
        assert ids_of(begin.sketches) == [first.id, second.id]

        assert (await reader.additions(begin.until)).sketches == b""
        await writer.put(third, 0.0)
        then = await reader.additions(begin.until)
        assert then.sketches == sketch(third.id, third.bucket, third.look)
        assert not then.anew

    async def test_nothing_is_missed_after_the_newest_was_removed(
        self, store: CacheStore, make_entry: MakeEntry
    ) -> None:
        first, second = make_entry(1), make_entry(2)
        await store.put(first, 0.0)
        known = (await store.additions(START)).until
        await store.delete(first.id, "alice")
        await store.put(second, 0.0)
        assert ids_of((await store.additions(known)).sketches) == [second.id]

    async def test_a_server_that_lost_everything_says_so(
        self, redis_server: RedisServer, make_entry: MakeEntry
    ) -> None:
        store = RedisCache(redis_server.url, Bounds(10**9, 10**9))
        for picture in range(3):
            await store.put(make_entry(picture), 0.0)
        known = (await store.additions(START)).until
        redis_server.command("FLUSHALL")
        entry = make_entry(9)
        await store.put(entry, 0.0)

        added = await store.additions(known)

        assert added.anew
        assert ids_of(added.sketches) == [entry.id]
        await store.aclose()


class TestCluster:
    async def test_a_cluster_keeps_the_cache_on_one_of_its_servers(
        self,
        redis_cluster: Cluster,  # noqa: F811
        make_entry: MakeEntry,
    ) -> None:
        store = RedisCache(redis_cluster.url, Bounds(10**9, 2))
        entries = [make_entry(picture) for picture in range(3)]
        for now, entry in enumerate(entries):
            await store.put(entry, float(now))
        found = await store.find(entries[2].direct, 9.0)
        assert found is not None
        assert found.result == entries[2].result
        assert set(await store.summaries([each.id for each in entries], 9.0)) == {each.id for each in entries[1:]}
        assert await all_ids(store) == [each.id for each in entries[1:]]
        assert await store.delete_namespace("alice", "default") == 2
        assert await store.count() == 0
        await store.aclose()


class TestFailing:
    async def test_a_server_that_does_not_answer_is_given_up_soon(
        self, own_redis_server: RedisServer, make_entry: MakeEntry
    ) -> None:
        store = RedisCache(own_redis_server.url, Bounds(10**9, 10**9))
        entry = make_entry()
        await store.put(entry, 0.0)
        own_redis_server.freeze()
        begun = time.monotonic()
        with pytest.raises(StorageError):
            await store.find(entry.direct, 1.0)
        assert time.monotonic() - begun < 10
        own_redis_server.thaw()
        async with asyncio.timeout(10):
            while not await found(store, entry):  # noqa: ASYNC110 - a server's return is no event here
                await asyncio.sleep(0.01)
        await store.aclose()

    async def test_no_address_is_told(self) -> None:
        store = RedisCache("redis://:hunter2@127.0.0.1:1/0", Bounds(1, 1))
        with pytest.raises(StorageError) as caught:
            await store.additions(START)
        assert "hunter2" not in str(caught.value)
        await store.aclose()

    async def test_a_directory_that_cannot_be_made_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(StorageError, match="cannot be opened"):
            await SqliteCache.open(tmp_path / "file" / "cache", Bounds(1, 1))

    async def test_a_closed_store_fails_like_one_that_is_away(self, tmp_path: Path) -> None:
        store = await SqliteCache.open(tmp_path / "cache", Bounds(1, 1))
        await store.aclose()
        with pytest.raises(StorageError):
            await store.count()


def set_aside(file: Path) -> list[Path]:
    """The files that were set aside in favour of this one."""
    return list(file.parent.glob(f"{file.name}.damaged-*[0-9]"))


async def found(store: CacheStore, entry: Entry) -> bool:
    """Whether the store answers and has the entry."""
    try:
        return await store.find(entry.direct, 1.0) is not None
    except StorageError:
        return False


class TestSqliteFile:
    async def test_it_is_nobody_elses(self, tmp_path: Path) -> None:
        store = await SqliteCache.open(tmp_path / "a" / "cache", Bounds(1, 1))
        assert (tmp_path / "a" / "cache").stat().st_mode & 0o077 == 0
        await store.aclose()

    async def test_it_shrinks_when_entries_go(self, tmp_path: Path, make_entry: MakeEntry) -> None:
        file = tmp_path / "cache"
        store = await SqliteCache.open(file, Bounds(10**9, 100))
        await store.put(make_entry(images=(bytes(3_000_000),), expires=1.0), 0.0)
        await store.sweep(2.0)
        await store.aclose()
        assert file.stat().st_size < 1_000_000

    async def test_one_of_another_version_is_left_to_it(
        self, tmp_path: Path, make_entry: MakeEntry, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = tmp_path / "cache.sqlite3"
        store = await SqliteCache.open(file, ROOMY)
        await store.put(make_entry(), 0.0)
        await store.aclose()
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA user_version = 999")
        connection.close()

        ours = await SqliteCache.open(file, ROOMY)
        assert await ours.count() == 0
        assert await ours.put(make_entry(), 0.0)
        await ours.aclose()

        assert (tmp_path / "cache.v2.sqlite3").exists()
        assert "another version" in caplog.text
        with sqlite3.connect(file) as connection:
            assert connection.execute("SELECT count(*) FROM entries").fetchone() == (1,)
        connection.close()

    async def test_one_that_is_no_database_is_set_aside(
        self, tmp_path: Path, make_entry: MakeEntry, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = tmp_path / "cache"
        file.write_bytes(b"something else" * 100)
        store = await SqliteCache.open(file, ROOMY)
        assert await store.put(make_entry(), 0.0)
        assert await store.count() == 1
        await store.aclose()
        (aside,) = set_aside(file)
        assert aside.read_bytes() == b"something else" * 100
        assert "set aside" in caplog.text

    async def test_damage_that_shows_later_costs_what_was_kept_and_no_more(
        self, tmp_path: Path, make_entry: MakeEntry
    ) -> None:
        file = tmp_path / "cache"
        entry = make_entry(images=(bytes(200_000),))
        store = await SqliteCache.open(file, ROOMY)
        await store.put(entry, 0.0)
        known = (await store.additions(START)).until
        await store.aclose()
        with file.open("r+b") as damaged:
            # All but the first page, which says that it is a database and which tables it has.
            damaged.seek(4096)
            damaged.write(b"\xff" * (file.stat().st_size - 4096))

        store = await SqliteCache.open(file, ROOMY)
        with pytest.raises(StorageError):
            await store.find(entry.direct, 1.0)
        assert await store.find(entry.direct, 1.0) is None
        await store.put(entry, 2.0)
        added = await store.additions(known)
        assert added.anew
        assert ids_of(added.sketches) == [entry.id]
        await store.aclose()

    async def test_two_that_share_a_damaged_file_go_on_sharing(self, tmp_path: Path, make_entry: MakeEntry) -> None:
        file = tmp_path / "cache"
        entry = make_entry()
        stores = [await SqliteCache.open(file, ROOMY) for _ in range(2)]
        await stores[0].put(entry, 0.0)
        await stores[0].sweep(1.0)
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        with file.open("r+b") as damaged:
            damaged.seek(4096)
            damaged.write(b"\xff" * (file.stat().st_size - 4096))
        for store in stores:
            # Pages that it has in memory may be intact; the damaged ones are found out sooner or later.
            for _ in range(20):
                with contextlib.suppress(StorageError):
                    await store.sweep(2.0)
        await stores[0].put(entry, 3.0)
        assert await stores[1].find(entry.direct, 4.0) is not None
        for store in stores:
            await store.aclose()
