"""Running things side by side without ever leaving one of them unattended."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

Result = TypeVar("Result")


async def all_of(coroutines: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Runs coroutines side by side; returns their results in order.

    Like a task group, the first that raises ends the others before this returns; unlike one, it raises what that
    one raised, as it was, and not a group. (``asyncio.gather`` would let the others run on with nobody waiting.)
    """
    waiting = list(coroutines)
    if len(waiting) == 1:
        return [await waiting[0]]
    failure: BaseException | None = None
    tasks: list[asyncio.Task[Result]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in waiting]
    except BaseExceptionGroup as failures:
        failure = _first(failures)
    if failure is not None:
        # Out of the except block, so that it keeps the cause it was raised with.
        raise failure
    return [task.result() for task in tasks]


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks and waits until each has ended, however it does."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    for failure in failures.exceptions:
        return _first(failure) if isinstance(failure, BaseExceptionGroup) else failure
    raise AssertionError("an exception group is never empty")
