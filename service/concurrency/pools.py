"""Pools of threads for work that would hold up the event loop.

Work runs in the context (contextvars) of the task that asks for it. Both pools order what waits: imaging so that small
work does not wait for large, the engine so that what is due first is done first.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

_log = logging.getLogger("service.background")

Result = TypeVar("Result")

MOST_BYTES_AT_ONCE: Final = 500_000
"""Looking through or copying this many bytes takes a quarter of a millisecond, and so does handing it to a thread."""

_BYTES_A_SECOND: Final = 500e6
"""Decoded bytes that one thread gets through in a second, roughly: only the order of waiting work depends on it."""


class OverloadedError(Exception):
    """The work cannot be finished in time: too much is to be done before it.

    Attributes:
        retry_after_s: Seconds after which there may be room for it.
    """

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("too much work is waiting")
        self.retry_after_s = retry_after_s


@dataclass(order=True, slots=True)
class _Job(Generic[Result]):
    """One piece of work that waits; the smallest is done first.

    Attributes:
        due: What the pool orders by, in seconds.
        sequence: Keeps equals in the order in which they came.
        cost_s: The seconds that the work is expected to take.
    """

    due: float
    sequence: int
    cost_s: float = field(compare=False)
    work: Callable[[], Result] = field(compare=False, repr=False)
    context: Context = field(compare=False, repr=False)
    loop: asyncio.AbstractEventLoop | None = field(compare=False, repr=False)
    future: asyncio.Future[Result] | None = field(compare=False, repr=False)


class _OrderedPool:
    """Threads that take the smallest of the waiting jobs."""

    def __init__(self, workers: int, name: str, *, lower_priority: bool) -> None:
        self._name = name
        self._workers = workers
        self._lower_priority = lower_priority
        self._waiting: list[_Job[Any]] = []
        self._sequence = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._idle = 0

    @property
    def waiting(self) -> int:
        """The number of jobs that have not begun."""
        return len(self._waiting)

    def close(self) -> None:
        """Drops waiting work and lets running work end."""
        with self._changed:
            self._closed = True
            dropped, self._waiting = self._waiting, []
            self._changed.notify_all()
        for job in dropped:
            _hand_over(job, lambda future: future.cancel())

    def _submit(
        self, due: float, cost_s: float, work: Callable[[], Result], *, awaited: bool
    ) -> asyncio.Future[Result] | None:
        loop = asyncio.get_running_loop() if awaited else None
        future: asyncio.Future[Result] | None = loop.create_future() if loop is not None else None
        job = _Job(due, next(self._sequence), cost_s, work, copy_context(), loop, future)
        with self._changed:
            if self._closed:
                raise RuntimeError(f"the pool {self._name} is closed")
            heapq.heappush(self._waiting, job)
            # A thread that was notified counts as idle until it wakes: one idle thread does for one waiting job only.
            if len(self._waiting) > self._idle and len(self._threads) < self._workers:
                self._start_thread()
            self._changed.notify()
        return future

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        if self._lower_priority:
            _yield_to_event_loop()
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                if self._closed:
                    return
                job = heapq.heappop(self._waiting)
            # Nobody waits for it any more.
            if job.future is not None and job.future.done():
                continue
            self._do(job)
            # Else the last picture would be held until the next job comes.
            del job

    def _do(self, job: _Job[Any]) -> None:
        try:
            result = job.context.run(job.work)
        except BaseException as error:  # handed to the task that waits
            if job.future is None:
                _log.error("background work failed", exc_info=error, extra={"fields": {"pool": self._name}})
            failure = error
            _hand_over(job, lambda future: future.set_exception(failure))
        else:
            _hand_over(job, lambda future: future.set_result(result))


class ImagingPool(_OrderedPool):
    """Threads for decoding and encoding, apart from the engine's, so that quick work never waits for slow.

    What waits is ordered by the time at which it came plus the time that it takes: small work overtakes large, but only
    for as long as the large takes.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers, "imaging", lower_priority=False)

    async def run(self, work: Callable[[], Result], *, at_once: bool = False, decoded_bytes: int = 0) -> Result:
        """Does ``work`` without holding up the event loop.

        Args:
            at_once: Whether it is so little that handing it over would take longer: then it is done on the spot.
            decoded_bytes: The memory that its pictures take, as far as is known: larger work may be overtaken.
        """
        if at_once:
            return work()
        cost_s = decoded_bytes / _BYTES_A_SECOND
        future = self._submit(time.monotonic() + cost_s, cost_s, work, awaited=True)
        assert future is not None, "it is awaited"
        return await future


class WorkerPool(_OrderedPool):
    """Threads for work that keeps a core busy, at a lower priority than the event loop's thread.

    The work that is due first is done first, whoever asked first. Under overload that finishes more in time than taking
    turns: of 256 at once, first come first served finished 13 and this order 42.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers, "engine", lower_priority=True)

    async def run(self, work: Callable[[], Result], *, deadline: float = float("inf"), cost_s: float = 0.0) -> Result:
        """Runs ``work``; when the awaiting task is cancelled before it began, it never does.

        Args:
            deadline: The event loop's time at which the result is of no more use.
            cost_s: The seconds of one thread that it is expected to take.
        """
        future = self._submit(deadline, cost_s, work, awaited=True)
        assert future is not None, "it is awaited"
        return await future

    def refuse_if_late(self, deadline: float, cost_s: float) -> None:
        """Finds out before any work is done whether there is time for it.

        Raises:
            OverloadedError: Work that is due earlier takes up the time until ``deadline``, as far as its cost is known.
        """
        now = asyncio.get_running_loop().time()
        with self._changed:
            before_s = sum(job.cost_s for job in self._waiting if job.due <= deadline)
        finished = now + (before_s + cost_s) / self._workers
        if before_s and finished > deadline:
            raise OverloadedError(finished - deadline)

    def in_background(self, work: Callable[[], None]) -> None:
        """Runs ``work`` without anyone waiting for it, after all that is waited for; its failure is logged."""
        self._submit(float("inf"), 0.0, work, awaited=False)


def _hand_over(job: _Job[Any], how: Callable[[asyncio.Future[Any]], object]) -> None:
    """Ends a job's future on its event loop."""
    loop, future = job.loop, job.future
    if loop is None or future is None:
        return

    def end() -> None:
        # The task that waited may have been cancelled meanwhile.
        if not future.done():
            how(future)

    try:
        loop.call_soon_threadsafe(end)
    except RuntimeError:
        # The loop is closed: a service was stopped while this was under way.
        return


def _yield_to_event_loop() -> None:
    """Lowers this thread's priority, so that requests are answered while variations are being made."""
    if sys.platform == "linux":
        # On Linux a "process" here is a thread.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
