"""Pools: work knows the request that it is for, on any thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from service.concurrency.pools import ImagingPool, MemoryBudget, OverloadedError, WorkerPool
from service.concurrency.tasks import started
from service.core.current import RequestIdentity, current_request


@pytest.fixture(params=[ImagingPool, WorkerPool])
def pool(request: pytest.FixtureRequest) -> Iterator[ImagingPool | WorkerPool]:
    made = request.param(2)
    yield made
    made.close()


def seen() -> tuple[str, bool]:
    """The id of the request at hand, and whether this is the main thread."""
    request = current_request.get()
    return request.id if request else "", threading.current_thread() is threading.main_thread()


async def test_each_piece_of_work_knows_its_own_request(pool: ImagingPool | WorkerPool) -> None:
    async def serve(number: int) -> tuple[str, bool]:
        current_request.set(RequestIdentity(f"request-{number}"))
        await asyncio.sleep(0)
        return await pool.run(seen)

    answers = await asyncio.gather(*(serve(number) for number in range(20)))
    assert answers == [(f"request-{number}", False) for number in range(20)]
    assert await pool.run(seen) == ("", False)


class TestOrder:
    """One thread, held until everything waits: then the order shows."""

    async def done(self, pool: WorkerPool, due: list[float]) -> list[float]:
        release = threading.Event()
        order: list[float] = []
        first = started(pool.run(release.wait, deadline=0.0))
        await asyncio.sleep(0.05)
        waiting = [started(pool.run(partial(order.append, at), deadline=at)) for at in due]
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(first, *waiting)
        return order

    async def test_the_engine_does_first_what_is_due_first(self) -> None:
        pool = WorkerPool(1)
        assert await self.done(pool, [30.0, 10.0, 20.0, 10.0]) == [10.0, 10.0, 20.0, 30.0]
        pool.close()

    async def test_small_pictures_overtake_large_ones(self) -> None:
        pool, release, order = ImagingPool(1), threading.Event(), []
        first = started(pool.run(release.wait))
        await asyncio.sleep(0.05)
        large = started(pool.run(lambda: order.append("large"), decoded_bytes=2_000_000_000))
        await asyncio.sleep(0)
        small = started(pool.run(lambda: order.append("small"), decoded_bytes=1_000_000))
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(first, large, small)
        assert order == ["small", "large"]
        pool.close()

    async def test_what_cannot_be_done_in_time_is_refused_before_it_begins(self) -> None:
        pool, release = WorkerPool(2), threading.Event()
        now = asyncio.get_running_loop().time()
        held = [started(pool.run(release.wait, deadline=0.0)) for _ in range(2)]
        await asyncio.sleep(0.05)
        waiting = [started(pool.run(lambda: None, deadline=now + 60, cost_s=10.0)) for _ in range(4)]
        await asyncio.sleep(0)
        pool.refuse_if_late(now + 60, cost_s=10.0)
        with pytest.raises(OverloadedError) as refused:
            pool.refuse_if_late(now + 60, cost_s=100.0)
        assert refused.value.retry_after_s == pytest.approx(10.0, abs=1.0)
        # Work that is due later does not count.
        pool.refuse_if_late(now + 30, cost_s=50.0)
        release.set()
        await asyncio.gather(*held, *waiting)
        pool.close()


async def test_work_that_nobody_waits_for_any_more_is_not_done(pool: ImagingPool | WorkerPool) -> None:
    release, done = threading.Event(), []
    held = [started(pool.run(release.wait)) for _ in range(2)]
    await asyncio.sleep(0.05)
    given_up = started(pool.run(lambda: done.append("given up")))
    await asyncio.sleep(0)
    given_up.cancel()
    release.set()
    await asyncio.gather(*held)
    await pool.run(lambda: done.append("wanted"))
    assert done == ["wanted"]


async def test_a_failure_is_the_caller_s(pool: ImagingPool | WorkerPool) -> None:
    def fail() -> None:
        raise ValueError("not a picture")

    with pytest.raises(ValueError, match="not a picture"):
        await pool.run(fail)
    assert await pool.run(lambda: 1) == 1


async def test_closing_ends_those_who_wait() -> None:
    pool, release = ImagingPool(1), threading.Event()
    held = started(pool.run(release.wait))
    await asyncio.sleep(0.05)
    waiting = started(pool.run(lambda: None))
    await asyncio.sleep(0)
    pool.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release.set()
    await held


async def test_every_thread_is_used(pool: ImagingPool | WorkerPool) -> None:
    await pool.run(lambda: None)
    together = threading.Barrier(2, timeout=10)
    await asyncio.gather(pool.run(together.wait), pool.run(together.wait))


class TestMemory:
    """Running work holds no more than the budget, whichever pool it runs on."""

    async def test_pictures_are_decoded_side_by_side_only_as_far_as_they_fit(self) -> None:
        budget = MemoryBudget(100)
        pools = ImagingPool(4, budget), WorkerPool(4, budget)
        held: list[int] = []

        def work() -> None:
            held.append(budget.held)
            threading.Event().wait(0.005)

        await asyncio.gather(*(pools[turn % 2].run(work, decoded_bytes=40) for turn in range(12)))
        assert len(held) == 12
        assert max(held) <= 80
        assert await until(lambda: budget.held == 0)
        for pool in pools:
            pool.close()

    async def test_a_picture_larger_than_the_budget_is_decoded_alone(self) -> None:
        budget = MemoryBudget(100)
        pool, seen = ImagingPool(4, budget), []
        sizes = [40, 500, 40, 500]
        await asyncio.gather(*(pool.run(lambda: seen.append(budget.held), decoded_bytes=size) for size in sizes))
        assert sorted(seen)[-2:] == [500, 500]
        assert max(seen) == 500
        pool.close()

    async def test_small_work_does_not_wait_behind_a_picture_without_room(self) -> None:
        budget = MemoryBudget(3_000_000_000)
        pool, release = ImagingPool(2, budget), threading.Event()
        held = started(pool.run(release.wait, decoded_bytes=2_000_000_000))
        await asyncio.sleep(0.05)
        large = started(pool.run(lambda: None, decoded_bytes=2_000_000_000))
        await asyncio.sleep(0.05)
        assert await pool.run(lambda: "read", decoded_bytes=1000) == "read"
        assert not large.done()
        release.set()
        await asyncio.gather(held, large)
        pool.close()

    async def test_a_picture_without_room_is_not_overtaken_for_ever(self) -> None:
        budget = MemoryBudget(100)
        pool, release, order = ImagingPool(2, budget), threading.Event(), []
        held = started(pool.run(release.wait, decoded_bytes=60))
        await asyncio.sleep(0.05)
        large = started(pool.run(lambda: order.append("large"), decoded_bytes=60))
        await asyncio.sleep(0.05)
        small = started(pool.run(lambda: order.append("small"), decoded_bytes=10))
        await asyncio.sleep(0.05)
        assert order == []
        release.set()
        await asyncio.gather(held, large, small)
        assert sorted(order) == ["large", "small"]
        pool.close()

    async def test_work_that_fails_gives_its_memory_back(self) -> None:
        budget = MemoryBudget(100)
        pool = ImagingPool(1, budget)

        def fail() -> None:
            raise ValueError("not a picture")

        with pytest.raises(ValueError, match="not a picture"):
            await pool.run(fail, decoded_bytes=60)
        assert await until(lambda: budget.held == 0)
        pool.close()


async def until(holds: Callable[[], bool]) -> bool:
    """Whether something comes to hold within a few seconds."""
    for _ in range(500):
        if holds():
            return True
        await asyncio.sleep(0.01)
    return False
