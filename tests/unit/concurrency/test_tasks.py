from __future__ import annotations

import asyncio

import pytest

from service.concurrency.tasks import all_of, ended, started
from service.core.errors import ErrorKind, GatewayError


async def test_results_come_in_order() -> None:
    async def after(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return turns

    assert await all_of(after(turns) for turns in (3, 1, 2)) == [3, 1, 2]


async def test_the_first_failure_ends_the_others_and_keeps_its_cause() -> None:
    stopped = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def fail() -> None:
        raise GatewayError(ErrorKind.INTERNAL, "It failed.") from KeyError("choices")

    with pytest.raises(GatewayError) as caught:
        await all_of([hang(), fail()])
    assert isinstance(caught.value.__cause__, KeyError)
    assert stopped.is_set()


async def test_ended_waits_for_the_end_however_it_comes() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            raise ZeroDivisionError

    task = started(stubborn())
    await asyncio.sleep(0)
    await ended([task])
    assert isinstance(task.exception(), ZeroDivisionError)
