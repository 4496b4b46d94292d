"""Measures the store of limits: admitting and settling, a full rate window, and two processes on one file.

``python -m bench.bench_state [redis://...]``; without a URL on a SQLite file in the temporary directory. The load is 50
requests at a time of a key with two rate limits and two budgets, each admitted and then settled.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path

from service.governance.budgets import Budget
from service.governance.callers import Caller, CallerKind
from service.governance.governor import Governor, OnStoreFailure
from service.governance.keys import VirtualKey, digest
from service.governance.rates import Counts, Rate
from service.governance.store import Store
from service.governance.windows import Span, Window

_AT_ONCE = 50
_SECONDS = 5.0
_FILLED = 80_000

CALLER = Caller(
    CallerKind.VIRTUAL_KEY,
    "alice",
    VirtualKey(
        "alice",
        digest("x"),
        budgets=(Budget(1e6, Window(Span.DAY)), Budget(1e6, Window(Span.MONTH, aligned=True))),
        rates=(Rate(Counts.REQUESTS, 1_000_000, 3600), Rate(Counts.IMAGES, 1_000_000, 86_400)),
    ),
)
RATES_ONLY = Caller(
    CallerKind.VIRTUAL_KEY,
    "bob",
    VirtualKey("bob", digest("y"), rates=(Rate(Counts.REQUESTS, 1_000_000, 3600),)),
)


async def _open(place: str) -> Store:
    if "://" in place:
        from service.governance.redis_store import RedisStore

        return RedisStore(place)
    from service.governance.sqlite_store import SqliteStore

    return await SqliteStore.open(Path(place))


async def _load(place: str, caller: Caller, seconds: float, most: int = 10**9) -> list[float]:
    """The seconds that each request took to be admitted and settled."""
    store = await _open(place)
    governor = Governor(store, OnStoreFailure.REFUSE)
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        while time.perf_counter() < end and len(took) < most:
            begun = time.perf_counter()
            await governor.count(caller, images=1)
            reservation = await governor.reserve(caller, 0.001)
            await governor.settle(reservation, 0.0005)
            took.append(time.perf_counter() - begun)

    await asyncio.gather(*(client() for _ in range(_AT_ONCE)))
    await governor.aclose()
    await store.aclose()
    return took


def _process(place: str, results: multiprocessing.SimpleQueue[list[float]]) -> None:
    results.put(asyncio.run(_load(place, CALLER, _SECONDS)))


def _with_processes(place: str, processes: int) -> list[float]:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.SimpleQueue[list[float]] = context.SimpleQueue()
    started = [context.Process(target=_process, args=(place, results)) for _ in range(processes)]
    for process in started:
        process.start()
    took = [each for _ in started for each in results.get()]
    for process in started:
        process.join()
    return took


def _report(name: str, took: list[float], seconds: float) -> None:
    cuts = statistics.quantiles(took, n=100)
    rate = len(took) / seconds
    print(f"{name:48} {rate:8.0f} requests/s   p50 {cuts[49] * 1e3:7.1f} ms   p99 {cuts[98] * 1e3:7.1f} ms", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = sys.argv[1] if len(sys.argv) > 1 else str(Path(directory) / "state.sqlite3")
        for processes in (1, 2):
            _report(f"budgets and rates, {processes} process(es)", _with_processes(place, processes), _SECONDS)
        took = asyncio.run(_load(place, RATES_ONLY, _SECONDS))
        _report("one rate limit, at first", took, _SECONDS)
        filled = asyncio.run(_load(place, RATES_ONLY, 300.0, _FILLED))
        took = asyncio.run(_load(place, RATES_ONLY, _SECONDS))
        _report(f"one rate limit, {len(filled):,} more in the window", took, _SECONDS)


if __name__ == "__main__":
    main()
