"""Pools: work knows the request that it is for, on any thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from service.concurrency.pools import ImagingPool, WorkerPool
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
