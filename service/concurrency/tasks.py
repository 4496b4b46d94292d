"""Tasks that are never left unattended: side by side, in the background, or again and again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

Result = TypeVar("Result")

log = logging.getLogger("service.background")


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


def started(coroutine: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """Starts a task whose end the caller waits for; ``ended`` stops such tasks early."""
    return asyncio.create_task(coroutine)


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks and waits until each has ended, with whatever result."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Background:
    """Tasks that nobody waits for: kept until they end, and their failures logged.

    Args:
        name: The tasks' common purpose, for the log.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """The number of tasks that have not ended."""
        return len(self._tasks)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Starts a task. Its failure goes to the log, as nobody else sees it."""
        task = started(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def settled(self) -> None:
        """Waits until every task has ended, those started meanwhile included."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def aclose(self, within_s: float | None = None) -> None:
        """Waits until every task has ended; those that have not after ``within_s`` seconds are cancelled."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.settled()
        await ended(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.error("background task failed", exc_info=failure, extra={"fields": {"task": self._name}})


@contextlib.asynccontextmanager
async def repeating(work: Callable[[], Awaitable[object]], *, name: str, every_s: float) -> AsyncIterator[None]:
    """Does ``work`` at once and then again ``every_s`` seconds after each end, until the block is left.

    A failure is logged and does not end the repetition. Leaving the block cancels work under way and waits for its end.
    """

    async def repeat() -> None:
        while True:
            try:
                await work()
            except Exception:
                log.exception("repeated work failed", extra={"fields": {"work": name}})
            await asyncio.sleep(every_s)

    task = started(repeat())
    try:
        yield
    finally:
        await ended([task])


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    for failure in failures.exceptions:
        return _first(failure) if isinstance(failure, BaseExceptionGroup) else failure
    raise AssertionError("an exception group is never empty")
