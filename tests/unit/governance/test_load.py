"""Admission by load: bounded sums, a fair share for each key, short waits, quick refusals."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.concurrency.tasks import ended, started
from service.core.errors import ErrorKind, GatewayError
from service.governance.load import LoadLimiter, LoadLimits


async def hold(limiter: LoadLimiter, key: str, size: int, until: asyncio.Event) -> None:
    async with limiter.admitted(key, size):
        await until.wait()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_does_not_fit_waits_until_it_does() -> None:
    limiter, first_ends, second_ends = LoadLimiter(LoadLimits(10, 100)), asyncio.Event(), asyncio.Event()
    first = started(hold(limiter, "a", 60, first_ends))
    second = started(hold(limiter, "a", 60, second_ends))
    await turns()
    assert (limiter.requests, limiter.bytes, limiter.waiting) == (1, 60, 1)
    first_ends.set()
    await first
    await turns()
    assert (limiter.requests, limiter.waiting) == (1, 0)
    second_ends.set()
    await second
    assert (limiter.requests, limiter.bytes) == (0, 0)


async def test_waiting_too_long_is_an_overload_that_says_when_to_come_back() -> None:
    limiter, end = LoadLimiter(LoadLimits(1, 100, wait_s=0.01)), asyncio.Event()
    first = started(hold(limiter, "a", 1, end))
    await turns()
    with pytest.raises(GatewayError) as refused:
        await hold(limiter, "b", 1, end)
    error = refused.value
    assert (error.kind, error.code, error.may_have_run) == (ErrorKind.RATE_LIMITED, "overloaded", False)
    assert error.retry_after_s == 1.0
    end.set()
    await first
    assert (limiter.requests, limiter.waiting) == (0, 0)


async def test_one_request_alone_may_be_larger_than_everything() -> None:
    limiter = LoadLimiter(LoadLimits(10, 100))
    async with limiter.admitted("a", 5000):
        assert limiter.bytes == 5000


async def test_a_full_queue_refuses_the_greediest_key_at_once() -> None:
    limiter, end = LoadLimiter(LoadLimits(1, 100, waiting=4, wait_s=60)), asyncio.Event()
    holding = started(hold(limiter, "big", 1, end))
    await turns()
    queued = [started(hold(limiter, "big", 1, end)) for _ in range(4)]
    await turns()
    with pytest.raises(GatewayError, match="no room"):
        await hold(limiter, "big", 1, end)
    small = started(hold(limiter, "small", 1, end))
    await turns()
    # The newest of the greediest key gave way.
    assert [task.done() for task in queued] == [False, False, False, True]
    assert isinstance(queued[3].exception(), GatewayError)
    end.set()
    await asyncio.gather(holding, small, *queued[:3])


async def test_a_key_takes_no_more_than_its_share() -> None:
    limiter, end = LoadLimiter(LoadLimits(10, 1000, share=0.5, wait_s=0.01)), asyncio.Event()
    mine = [started(hold(limiter, "a", 1, end)) for _ in range(5)]
    await turns()
    with pytest.raises(GatewayError):
        await hold(limiter, "a", 1, end)
    other = started(hold(limiter, "b", 1, end))
    await turns()
    assert limiter.requests == 6
    end.set()
    await asyncio.gather(other, *mine)


async def test_those_who_cannot_be_told_apart_share_everything() -> None:
    limiter, end = LoadLimiter(LoadLimits(4, 1000, share=0.5)), asyncio.Event()
    tasks = [started(hold(limiter, "", 1, end)) for _ in range(4)]
    await turns()
    assert limiter.requests == 4
    end.set()
    await asyncio.gather(*tasks)


async def test_leaving_while_waiting_leaves_nothing_behind() -> None:
    limiter, end = LoadLimiter(LoadLimits(1, 100, wait_s=60)), asyncio.Event()
    holding = started(hold(limiter, "a", 1, end))
    await turns()
    waiting = started(hold(limiter, "a", 1, end))
    await turns()
    await ended([waiting])
    assert (limiter.requests, limiter.waiting) == (1, 0)
    end.set()
    await holding
    assert limiter.requests == 0


async def test_a_key_with_two_clients_is_served_beside_one_with_two_hundred() -> None:
    """Closed loops: each client asks again as soon as it is answered or refused."""
    limiter = LoadLimiter(LoadLimits(8, 10**9, waiting=16, wait_s=60))
    served: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    stop, enough = asyncio.Event(), asyncio.Event()

    async def client(key: str) -> None:
        while not stop.is_set():
            try:
                async with limiter.admitted(key, 1_500_000):
                    await asyncio.sleep(0.001)
                served[key] += 1
                if served["small"] == 100:
                    enough.set()
            except GatewayError:
                refused[key] += 1
                await asyncio.sleep(0.001)

    clients = [started(client("big")) for _ in range(200)] + [started(client("small")) for _ in range(2)]
    async with asyncio.timeout(30):
        await enough.wait()
    stop.set()
    await asyncio.gather(*clients)
    assert refused["small"] == 0
    assert refused["big"] > 0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    requests=st.integers(1, 6),
    capacity=st.integers(1, 300),
    share=st.sampled_from([0.3, 0.5, 1.0]),
    waiting=st.integers(0, 5),
)
async def test_sums_hold_whoever_comes_and_goes(
    seed: int, requests: int, capacity: int, share: float, waiting: int
) -> None:
    drawn = random.Random(seed)
    limiter = LoadLimiter(LoadLimits(requests, capacity, share, waiting, wait_s=0.005))

    async def client(key: str) -> None:
        size = drawn.randint(1, 120)
        with contextlib.suppress(GatewayError):
            async with limiter.admitted(key, size):
                assert limiter.requests <= requests
                assert limiter.bytes <= capacity or limiter.requests == 1
                await asyncio.sleep(drawn.choice([0, 0.001]))

    tasks = [started(client(drawn.choice(["", "a", "b"]))) for _ in range(30)]
    await asyncio.sleep(0)
    await ended(drawn.sample(tasks, 5))
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [task.exception() for task in tasks if not task.cancelled() and task.exception()] == []
    assert (limiter.requests, limiter.bytes, limiter.waiting) == (0, 0, 0)
