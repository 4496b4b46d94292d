from __future__ import annotations

import asyncio

import pytest

from service.concurrency.tasks import Background, all_of, ended, repeating, started
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


class TestBackground:
    async def test_it_waits_for_what_was_started_meanwhile(self) -> None:
        background, done = Background("test"), []

        async def first() -> None:
            await asyncio.sleep(0)
            background.start(second())

        async def second() -> None:
            await asyncio.sleep(0)
            done.append("second")

        background.start(first())
        assert len(background) == 1
        await background.settled()
        assert (done, len(background)) == (["second"], 0)

    async def test_a_failure_is_logged_and_harms_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        background = Background("merging")

        async def fail() -> None:
            raise ValueError("choices")

        background.start(fail())
        await background.settled()
        (record,) = caplog.records
        assert record.exc_info is not None
        assert "choices" in str(record.exc_info[1])
        assert record.__dict__["fields"] == {"task": "merging"}

    async def test_closing_ends_what_does_not_end_in_time(self) -> None:
        background, stopped = Background("test"), asyncio.Event()

        async def hang() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

        background.start(hang())
        await background.aclose(within_s=0.01)
        assert stopped.is_set()
        assert len(background) == 0


async def test_repeated_work_goes_on_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    times: list[float] = []
    thrice = asyncio.Event()

    async def work() -> None:
        times.append(len(times))
        if len(times) == 3:
            thrice.set()
        raise OSError("disk")

    async with repeating(work, name="sweep", every_s=0.0), asyncio.timeout(10):
        await thrice.wait()
    count = len(times)
    await asyncio.sleep(0.01)
    assert len(times) == count
    assert len(caplog.records) >= 3
