"""Looking results up, over both stores: what hits, what does not, and who gets to see what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.cache import cache as cache_module
from service.cache.cache import HitType, Lookup, Query, ResultCache
from service.cache.cache_store import CacheStore
from service.cache.digests import bucket_digest, direct_digest
from service.cache.entries import Entry
from service.imaging.perceptual_key import PerceptualKey, hamming, layout_distance
from service.storage.errors import StorageError

OpenStore = Callable[..., Coroutine[Any, Any, CacheStore]]
MakeEntry = Callable[..., Entry]
OpenCache = Callable[[], Coroutine[Any, Any, ResultCache]]

THRESHOLD = 0.765


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def open_cache(open_store: OpenStore, clock: Clock) -> AsyncIterator[OpenCache]:
    """Opens a cache over the same store once more, as another replica would."""
    opened: list[ResultCache] = []

    async def open_one() -> ResultCache:
        cache = ResultCache(await open_store(), clock)
        await cache.open()
        opened.append(cache)
        return cache

    yield open_one
    for cache in opened:
        await cache.aclose()


@pytest.fixture
async def cache(open_cache: OpenCache) -> ResultCache:
    return await open_cache()


def query(entry: Entry, look: PerceptualKey | None = None, **changes: Any) -> Query:
    """A query of the request that an entry was made for; with a look, of another picture's."""

    direct = entry.direct if look is None else direct_digest(entry.bucket, b"other pixels")
    same = Query(entry.bucket, direct, Lookup.BOTH, THRESHOLD, entry.aspect, look or entry.look)
    return replace(same, **changes)


def changed(look: PerceptualKey, bits: int = 0, colour: float = 0.0) -> PerceptualKey:
    values = np.unpackbits(np.frombuffer(look.key, np.uint8))
    values[:bits] ^= 1
    shifted = (look.layout + np.array([colour, 0, 0])).astype(np.float32)
    return PerceptualKey(np.packbits(values).tobytes(), shifted)


class TestDirectHits:
    async def test_the_same_pixels_hit(self, cache: ResultCache, make_entry: MakeEntry) -> None:
        entry = make_entry()
        assert await cache.keep(entry)
        hit = await cache.look_up(query(entry))
        assert hit is not None
        assert (hit.id, hit.hit_type, hit.similarity) == (entry.id, HitType.DIRECT, 1.0)
        assert hit.result == entry.result

    async def test_an_empty_cache_has_none(self, cache: ResultCache, make_entry: MakeEntry) -> None:
        assert await cache.look_up(query(make_entry())) is None


class TestSemanticHits:
    async def test_nearly_the_same_picture_hits(self, cache: ResultCache, make_entry: MakeEntry) -> None:
        entry = make_entry()
        await cache.keep(entry)
        hit = await cache.look_up(query(entry, changed(entry.look, bits=16, colour=3)))
        assert hit is not None
        assert (hit.id, hit.hit_type, hit.similarity) == (entry.id, HitType.SEMANTIC, 1 - 16 / 256)

    @pytest.mark.parametrize(
        ("bits", "colour", "hits"), [(60, 5.9, True), (61, 0, False), (0, 6.1, False), (61, 6.1, False)]
    )
    async def test_both_bounds_must_be_kept(
        self, cache: ResultCache, make_entry: MakeEntry, bits: int, colour: float, hits: bool
    ) -> None:
        entry = make_entry()
        await cache.keep(entry)
        hit = await cache.look_up(query(entry, changed(entry.look, bits, colour)))
        assert (hit is not None) is hits

    @pytest.mark.parametrize(("threshold", "most_bits"), [(1.0, 0), (0.875, 32), (0.9, 25), (0.5, 128)])
    async def test_the_threshold_is_the_requests(
        self, cache: ResultCache, make_entry: MakeEntry, threshold: float, most_bits: int
    ) -> None:
        entry = make_entry()
        await cache.keep(entry)
        at = await cache.look_up(query(entry, changed(entry.look, most_bits), threshold=threshold))
        beyond = await cache.look_up(query(entry, changed(entry.look, most_bits + 1), threshold=threshold))
        assert at is not None
        assert at.similarity >= threshold
        assert beyond is None

    async def test_the_nearest_is_served(self, cache: ResultCache, make_entry: MakeEntry) -> None:
        first = make_entry(0)
        entries = [make_entry(picture, look=changed(first.look, bits)) for picture, bits in ((1, 50), (2, 7), (3, 30))]
        for entry in entries:
            await cache.keep(entry)
        hit = await cache.look_up(query(first, first.look))
        assert hit is not None
        assert hit.id == entries[1].id

    async def test_the_nearest_in_shape_does_not_hide_the_one_that_is_near_in_colour_too(
        self, cache: ResultCache, make_entry: MakeEntry
    ) -> None:
        first = make_entry(0)
        for picture in range(1, 41):
            # Within 6 in their mean, but not cell by cell.
            checks = np.where(np.arange(64) % 2, 9.0, -9.0)[:, None].astype(np.float32)
            await cache.keep(make_entry(picture, look=PerceptualKey(first.look.key, first.look.layout + checks)))
        wanted = make_entry(50, look=changed(first.look, bits=55))
        await cache.keep(wanted)
        hit = await cache.look_up(query(first, first.look))
        assert hit is not None
        assert hit.id == wanted.id

    async def test_a_stretched_picture_is_another(self, cache: ResultCache, make_entry: MakeEntry) -> None:
        entry = make_entry(aspect=1.5)
        await cache.keep(entry)
        near = changed(entry.look, bits=2)
        assert await cache.look_up(query(entry, near, aspect=1.6)) is not None
        assert await cache.look_up(query(entry, near, aspect=1.0)) is None
        assert await cache.look_up(query(entry, near, aspect=2.5)) is None

    async def test_it_finds_what_comparing_with_everything_finds(
        self, cache: ResultCache, make_entry: MakeEntry
    ) -> None:
        random = np.random.default_rng(11)
        origin = make_entry(0).look
        entries = [
            make_entry(
                picture,
                parameters={"picture": picture % 2},
                look=changed(origin, int(random.integers(0, 120)), float(random.uniform(-12, 12))),
            )
            for picture in range(120)
        ]
        for entry in entries:
            await cache.keep(entry)
        for _ in range(40):
            wanted = changed(origin, int(random.integers(0, 120)), float(random.uniform(-12, 12)))
            asked = entries[int(random.integers(2))]
            hit = await cache.look_up(query(asked, wanted))
            distances = [
                hamming(wanted.key, each.look.key)
                for each in entries
                if each.bucket == asked.bucket and layout_distance(wanted.layout, each.look.layout) <= 6
            ]
            nearest = min((distance for distance in distances if distance <= 60), default=None)
            assert (None if hit is None else hit.similarity) == (None if nearest is None else 1 - nearest / 256)


class TestWhatIsAsked:
    async def test_each_way_can_be_asked_for_alone(self, cache: ResultCache, make_entry: MakeEntry) -> None:
        entry = make_entry()
        await cache.keep(entry)
        near = changed(entry.look, bits=1)
        assert await cache.look_up(query(entry, near, lookup=Lookup.DIRECT)) is None
        semantic = await cache.look_up(query(entry, lookup=Lookup.SEMANTIC))
        assert semantic is not None
        assert semantic.hit_type is HitType.SEMANTIC

    @pytest.mark.parametrize(
        "other",
        [
            {"scope": "bob"},
            {"namespace": "drafts"},
            {"parameters": {"n": 2}},
        ],
        ids=lambda other: next(iter(other)),
    )
    async def test_other_tenants_namespaces_and_parameters_miss(
        self, cache: ResultCache, make_entry: MakeEntry, other: dict[str, Any]
    ) -> None:
        theirs = make_entry()
        ours = make_entry(**other)
        await cache.keep(theirs)
        assert await cache.look_up(query(ours)) is None
        assert await cache.look_up(query(ours, changed(ours.look, bits=1))) is None

    async def test_a_tenant_whose_bucket_sorts_alike_still_sees_nothing(
        self, cache: ResultCache, make_entry: MakeEntry
    ) -> None:
        """The index keeps 42 bits of a bucket; what is served is checked against all of them."""
        theirs = make_entry()
        await cache.keep(theirs)
        alike = theirs.bucket[:8] + bytes(24)
        assert await cache.look_up(query(theirs, theirs.look, bucket=alike)) is None


class TestOverTime:
    async def test_what_expired_misses_both_ways(self, cache: ResultCache, make_entry: MakeEntry, clock: Clock) -> None:
        entry = make_entry(expires=10.0)
        await cache.keep(entry)
        near = changed(entry.look, bits=1)
        assert await cache.look_up(query(entry, near)) is not None
        clock.now = 10.0
        assert await cache.look_up(query(entry)) is None
        assert await cache.look_up(query(entry, near)) is None

    async def test_what_was_deleted_misses_both_ways(self, cache: ResultCache, make_entry: MakeEntry) -> None:
        entry = make_entry()
        await cache.keep(entry)
        near = changed(entry.look, bits=1)
        assert await cache.look_up(query(entry, near)) is not None
        assert await cache.delete(entry.id, entry.scope)
        assert await cache.look_up(query(entry)) is None
        assert await cache.look_up(query(entry, near)) is None

    async def test_an_entry_behind_one_that_is_gone_is_found(self, cache: ResultCache, make_entry: MakeEntry) -> None:
        near, far = make_entry(1), make_entry(2)
        far = replace(far, look=changed(near.look, bits=30))
        await cache.keep(near)
        await cache.keep(far)
        await cache.delete(near.id, near.scope)
        for _ in range(2):
            hit = await cache.look_up(query(near, near.look))
            assert hit is not None
            assert hit.id == far.id

    async def test_entries_survive_a_restart(self, open_cache: OpenCache, make_entry: MakeEntry) -> None:
        entry = make_entry()
        await (await open_cache()).keep(entry)
        assert await (await open_cache()).look_up(query(entry, changed(entry.look, bits=1))) is not None

    async def test_an_index_of_what_is_mostly_gone_is_loaded_anew(
        self, cache: ResultCache, make_entry: MakeEntry, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cache_module, "_SMALLEST_STALE", 10)
        for picture in range(40):
            await cache.keep(make_entry(picture, expires=10.0))
        kept = make_entry(99)
        await cache.keep(kept)
        near = query(kept, changed(kept.look, bits=1))
        assert await cache.look_up(near) is not None
        assert len(cache._index) == 41
        clock.now = 20.0
        await cache.sweep()
        assert len(cache._index) == 1
        assert await cache.look_up(near) is not None

    async def test_sorting_the_index_goes_on_beside_look_ups(
        self, open_cache: OpenCache, store: CacheStore, make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.cache.near_index._SMALLEST_TAIL", 8)
        cache = await open_cache()
        entries = [make_entry(picture) for picture in range(60)]
        for entry in entries:
            await cache.keep(entry)
            await cache.look_up(query(entry, entry.look))
        hits = await asyncio.gather(*(cache.look_up(query(entry, changed(entry.look, bits=1))) for entry in entries))
        assert [hit and hit.id for hit in hits] == [entry.id for entry in entries]


class TestReplicas:
    async def test_what_one_keeps_the_other_finds_at_once(self, open_cache: OpenCache, make_entry: MakeEntry) -> None:
        one, other = await open_cache(), await open_cache()
        for picture in range(5):
            entry = make_entry(picture)
            await one.keep(entry)
            assert await other.look_up(query(entry)) is not None
            assert await other.look_up(query(entry, changed(entry.look, bits=1))) is not None

    async def test_many_look_ups_at_once_all_see_it(self, open_cache: OpenCache, make_entry: MakeEntry) -> None:
        one, other = await open_cache(), await open_cache()
        entry = make_entry()
        await one.keep(entry)
        near = query(entry, changed(entry.look, bits=1))
        hits = await asyncio.gather(*(other.look_up(near) for _ in range(20)))
        assert all(hit is not None for hit in hits)

    async def test_what_one_deletes_the_other_no_longer_serves(
        self, open_cache: OpenCache, make_entry: MakeEntry
    ) -> None:
        one, other = await open_cache(), await open_cache()
        entry = make_entry()
        await one.keep(entry)
        near = query(entry, changed(entry.look, bits=1))
        assert await other.look_up(near) is not None
        await one.delete_namespace(entry.scope, entry.namespace)
        assert await other.look_up(near) is None


class TestStoreAway:
    async def test_look_ups_miss_and_nothing_is_kept(
        self, cache: ResultCache, make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(*_: object) -> None:
            raise StorageError("away")

        entry = make_entry()
        await cache.keep(entry)
        for method in ("find", "additions", "put"):
            monkeypatch.setattr(cache._store, method, fail)
        assert await cache.look_up(query(entry)) is None
        assert await cache.look_up(query(entry, entry.look)) is None
        assert not await cache.keep(entry)

    async def test_deleting_says_that_it_failed(self, cache: ResultCache, monkeypatch: pytest.MonkeyPatch) -> None:
        async def fail(*_: object) -> None:
            raise StorageError("away")

        monkeypatch.setattr(cache._store, "delete", fail)
        with pytest.raises(StorageError):
            await cache.delete("0" * 32, "alice")


def test_buckets_of_different_tenants_differ() -> None:
    assert bucket_digest("a", "b", {}) != bucket_digest("b", "a", {})
