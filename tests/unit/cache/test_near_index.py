"""The search is exact: whatever a comparison with every entry finds, it finds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.cache.entries import new_id
from service.cache.near_index import NearIndex
from service.cache.sketches import SKETCH, Neighbourhood, sketch
from service.imaging.perceptual_key import MAX_HAMMING, MAX_LAYOUT, PerceptualKey, hamming, layout_distance

BUCKETS = (b"a" * 32, b"b" * 32)


def flipped(key: bytes, bits: int, random: np.random.Generator) -> bytes:
    """The key with that many bits changed."""
    values = np.unpackbits(np.frombuffer(key, np.uint8))
    values[random.choice(256, bits, replace=False)] ^= 1
    return np.packbits(values).tobytes()


def look(random: np.random.Generator, spread: float) -> PerceptualKey:
    mean = random.uniform((0, -100, -100), (100, 100, 100))
    colours = mean + random.normal(0, spread, (64, 3))
    return PerceptualKey(random.bytes(32), colours.astype(np.float32))


def relative(of: PerceptualKey, random: np.random.Generator) -> PerceptualKey:
    """A look in the neighbourhood of another, on either side of both bounds."""
    direction = random.normal(0, 1, 3)
    distance = MAX_LAYOUT * random.choice([0.1, 0.5, 0.98, 0.9999, 1.0001, 1.3])
    shift = direction / np.linalg.norm(direction) * distance
    bits = int(random.integers(0, 2 * MAX_HAMMING))
    return PerceptualKey(flipped(of.key, bits, random), (of.layout + shift).astype(np.float32))


def found(index: NearIndex, bucket: bytes, wanted: PerceptualKey, most: int) -> dict[str, int]:
    return {each.id: each.hamming for each in index.search(Neighbourhood.of(bucket, wanted), most).run()}


def merged(index: NearIndex) -> NearIndex:
    merge = index.due_merge()
    assert merge is not None
    index.adopt(merge, merge.build())
    return index


@settings(max_examples=60, deadline=None)
# Its mean colour has a lightness below 0, beyond the first cell of the grid.
@example(seed=1004, spread=30.0, sort=True)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.0, 3.0, 30.0]), sort=st.booleans())
def test_finds_what_comparing_with_everything_finds(seed: int, spread: float, sort: bool) -> None:
    random = np.random.default_rng(seed)
    wanted = look(random, spread)
    entries = {
        new_id(): (
            BUCKETS[random.integers(2)],
            relative(wanted, random) if random.random() < 0.3 else look(random, spread),
        )
        for _ in range(200)
    }
    index = NearIndex()
    index.extend(b"".join(sketch(name, *entry) for name, entry in entries.items()))
    if sort:
        index.extend(noise(random, 5_000))
        merged(index)

    got = found(index, BUCKETS[0], wanted, MAX_HAMMING)

    near = {
        name: hamming(wanted.key, each.key)
        for name, (bucket, each) in entries.items()
        if bucket == BUCKETS[0]
        and hamming(wanted.key, each.key) <= MAX_HAMMING
        and layout_distance(wanted.layout, each.layout) <= MAX_LAYOUT
    }
    assert near.items() <= got.items()
    assert all(hamming(wanted.key, entries[name][1].key) == distance for name, distance in got.items())


@pytest.mark.parametrize("bits", [0, 1, 59, 60, 61, 256])
def test_the_bound_on_bits_is_met_exactly(bits: int) -> None:
    random = np.random.default_rng(bits)
    wanted = look(random, 5.0)
    index = NearIndex()
    index.extend(sketch("ab" * 16, BUCKETS[0], PerceptualKey(flipped(wanted.key, bits, random), wanted.layout)))
    expected = {"ab" * 16: bits} if bits <= 60 else {}
    assert found(index, BUCKETS[0], wanted, 60) == expected


def test_the_nearest_comes_first() -> None:
    random = np.random.default_rng(3)
    wanted = look(random, 5.0)
    index = NearIndex()
    for bits in (40, 5, 60, 0, 22):
        index.extend(sketch(new_id(), BUCKETS[0], PerceptualKey(flipped(wanted.key, bits, random), wanted.layout)))
    candidates = index.search(Neighbourhood.of(BUCKETS[0], wanted), 60).run()
    assert [each.hamming for each in candidates] == [0, 5, 22, 40, 60]


def test_no_entry_of_another_bucket_is_found() -> None:
    wanted = look(np.random.default_rng(4), 5.0)
    index = NearIndex()
    index.extend(sketch(new_id(), BUCKETS[1], wanted))
    assert found(index, BUCKETS[0], wanted, 256) == {}


def test_sorting_the_tail_in_loses_nothing_that_came_meanwhile() -> None:
    random = np.random.default_rng(5)
    wanted = look(random, 5.0)
    before, meanwhile, after = new_id(), new_id(), new_id()
    index = NearIndex()
    index.extend(noise(random, 5_000) + sketch(before, BUCKETS[0], wanted))
    merge = index.due_merge()
    assert merge is not None
    index.extend(sketch(meanwhile, BUCKETS[0], wanted) + noise(random, 6_000))
    index.adopt(merge, merge.build())
    index.extend(sketch(after, BUCKETS[0], wanted))

    assert set(found(index, BUCKETS[0], wanted, 0)) == {before, meanwhile, after}
    assert len(index) == 11_003


def test_a_search_goes_on_in_what_it_began_with() -> None:
    random = np.random.default_rng(6)
    wanted = look(random, 5.0)
    first = new_id()
    index = NearIndex()
    index.extend(sketch(first, BUCKETS[0], wanted))
    search = index.search(Neighbourhood.of(BUCKETS[0], wanted), 60)
    index.extend(noise(random, 20_000) + sketch(new_id(), BUCKETS[0], wanted))
    merged(index)
    assert [each.id for each in search.run()] == [first]


def test_looks_all_in_one_place_are_all_compared() -> None:
    """The worst case of the grid: every entry has the same mean colour."""
    random = np.random.default_rng(7)
    wanted = look(random, 0.0)
    index = NearIndex()
    rows = np.frombuffer(sketch("cd" * 16, BUCKETS[0], wanted), SKETCH).repeat(150_000)
    rows["key"] = random.integers(0, 2**64, (150_000, 4), np.uint64)
    rows["key"][123_456] = np.frombuffer(wanted.key, "<u8")
    index.extend(rows.tobytes())
    merged(index)
    search = index.search(Neighbourhood.of(BUCKETS[0], wanted), 60)
    assert search.rows == 150_000
    assert [each.hamming for each in search.run()] == [0]


def test_a_grid_spares_most_comparisons() -> None:
    random = np.random.default_rng(8)
    index = NearIndex()
    index.extend(b"".join(sketch(new_id(), BUCKETS[0], look(random, 5.0)) for _ in range(5_000)))
    merged(index)
    assert index.search(Neighbourhood.of(BUCKETS[0], look(random, 5.0)), 60).rows < 100


def test_half_a_sketch_is_refused() -> None:
    with pytest.raises(ValueError, match="buffer"):
        NearIndex().extend(bytes(57))


def noise(random: np.random.Generator, count: int) -> bytes:
    """Sketches of a bucket of their own."""
    rows: npt.NDArray[np.void] = np.zeros(count, SKETCH)
    rows["place"] = random.integers(0, 2**64, count, np.uint64)
    rows["key"] = random.integers(0, 2**64, (count, 4), np.uint64)
    return rows.tobytes()
