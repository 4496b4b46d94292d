"""Measures a look-up in the result cache with 100, 10,000 and 1,000,000 entries, all of them for one request's
parameters, which is the worst case: `make bench-cache`.

    python -m bench.bench_cache [--sizes 100 10000 1000000] [--stores sqlite redis] [--rounds 5]

Redis or Valkey is started on a free port. A million entries take about 3 GB there, and a few minutes to put in.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from redis_server import RedisServer

from service.cache.cache import Lookup, Query, ResultCache
from service.cache.cache_store import Bounds, CacheStore
from service.cache.digests import bucket_digest, direct_digest
from service.cache.entries import CachedImage, CachedResult, Entry, new_id
from service.cache.redis_cache import RedisCache
from service.cache.sqlite_cache import SqliteCache
from service.core.values import EncodedImage, ImageFormat, Size, Target
from service.imaging.perceptual_key import PerceptualKey

THRESHOLD: Final = 0.765
LOOKUPS_A_ROUND: Final = 100
PUT_AT_A_TIME: Final = 64
NO_LIMIT: Final = Bounds(10**15, 10**9)
BUCKET: Final = bucket_digest("bench", "default", {"n": 1})
# Mean and spread of the mean Lab colour of 960 crops of 16 photos.
MEAN_COLOUR: Final = (55.0, 2.0, 6.0)
SPREAD: Final = (15.0, 12.6, 13.6)


@dataclass
class Pictures:
    """Looks of pictures that do not exist: bits by chance, colours like those of photos, or all of one colour."""

    random: np.random.Generator
    alike: bool = False

    def look(self) -> PerceptualKey:
        mean = self.random.normal(MEAN_COLOUR, 0.01 if self.alike else SPREAD)
        slope = self.random.normal(0, 6, 2)
        across: npt.NDArray[np.float64] = np.linspace(-1, 1, 8)
        light = (slope[0] * across[:, None] + slope[1] * across[None]).ravel()
        colours = mean + self.random.normal(0, 4, (64, 3))
        colours += mean - colours.mean(0)
        colours[:, 0] += light
        return PerceptualKey(self.random.bytes(32), colours.astype(np.float32))


def entry(number: int, look: PerceptualKey) -> Entry:
    image = EncodedImage(b"x" * 64, ImageFormat.PNG, Size(1, 1))
    result = CachedResult((CachedImage(image),), Target("bench", "model"))
    return Entry(new_id(), "bench", "default", BUCKET, direct(number), look, 1.0, result, expires=2e12)


def direct(number: int) -> bytes:
    return direct_digest(BUCKET, hashlib.sha256(str(number).encode()).digest())


def query(number: int, look: PerceptualKey, lookup: Lookup = Lookup.BOTH) -> Query:
    return Query(BUCKET, direct(number), lookup, THRESHOLD, 1.0, look)


async def fill(store: CacheStore, pictures: Pictures, first: int, last: int) -> None:
    """Puts entries ``first`` to ``last`` - 1."""
    for begin in range(first, last, PUT_AT_A_TIME):
        numbers = range(begin, min(begin + PUT_AT_A_TIME, last))
        await asyncio.gather(*(store.put(entry(number, pictures.look()), 0.0) for number in numbers))


async def median_ms(rounds: int, once: Callable[[int], Awaitable[object]]) -> float:
    """The median of the rounds' medians, in milliseconds."""
    medians = []
    for begin in range(0, rounds * LOOKUPS_A_ROUND, LOOKUPS_A_ROUND):
        times = []
        for number in range(begin, begin + LOOKUPS_A_ROUND):
            started = time.perf_counter()
            await once(number)
            times.append(time.perf_counter() - started)
        medians.append(statistics.median(times))
    return statistics.median(medians) * 1e3


async def measure(store: CacheStore, pictures: Pictures, rounds: int) -> tuple[float, float, float]:
    """Medians in ms: of a miss (both ways looked up), of a semantic hit, and of a direct hit."""
    cache = ResultCache(store)
    await cache.open()
    wanted = [pictures.look() for _ in range(LOOKUPS_A_ROUND)]
    near = [pictures.look() for _ in range(LOOKUPS_A_ROUND)]
    for number, look in enumerate(near):
        await store.put(entry(-1 - number, look), 0.0)

    async def miss(number: int) -> None:
        assert await cache.look_up(query(10**9 + number, wanted[number % len(wanted)])) is None

    async def semantic(number: int) -> None:
        assert await cache.look_up(query(10**9, near[number % len(near)])) is not None

    async def direct_hit(number: int) -> None:
        assert await cache.look_up(query(-1 - number % len(near), near[0])) is not None

    return await median_ms(rounds, miss), await median_ms(rounds, semantic), await median_ms(rounds, direct_hit)


@contextmanager
def opened(kind: str) -> Iterator[Callable[[], Awaitable[CacheStore]]]:
    """Opens a store of a kind, empty at first."""
    with tempfile.TemporaryDirectory() as directory:
        server = RedisServer(Path(directory))
        if kind == "redis":
            server.start()

        async def open_one() -> CacheStore:
            if kind == "redis":
                return RedisCache(server.url, NO_LIMIT)
            return await SqliteCache.open(Path(directory) / "cache.sqlite3", NO_LIMIT)

        try:
            yield open_one
        finally:
            server.stop()


async def run(kind: str, sizes: list[int], rounds: int, *, alike: bool) -> None:
    misses = []
    with opened(kind) as open_store:
        pictures = Pictures(np.random.default_rng(1), alike)
        held = 0
        for size in sizes:
            store = await open_store()
            await fill(store, pictures, held, size)
            held = size
            miss, semantic, hit = await measure(store, pictures, rounds)
            misses.append(miss)
            colours = "one colour" if alike else "photos' colours"
            print(f"{kind:7} {colours:16} {size:>9,} {miss:8.2f} {semantic:13.2f} {hit:11.2f}", flush=True)
            await store.aclose()
    print(f"{kind:7} a miss takes {misses[-1] / misses[0]:.1f} times as long with the most entries as with the fewest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 10_000, 1_000_000])
    parser.add_argument("--stores", nargs="+", choices=["sqlite", "redis"], default=["sqlite", "redis"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--alike", action="store_true", help="all pictures of one mean colour: the grid is no help then"
    )
    arguments = parser.parse_args()
    print(f"{'store':7} {'entries have':16} {'entries':>9} {'miss ms':>8} {'semantic ms':>13} {'direct ms':>11}")
    for kind in arguments.stores:
        asyncio.run(run(kind, arguments.sizes, arguments.rounds, alike=arguments.alike))


if __name__ == "__main__":
    main()
