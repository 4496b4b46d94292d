"""Pools of threads for work that would hold up the event loop.

Work runs in the context (contextvars) of the task that asks for it. Both pools order what waits: imaging so that small
work does not wait for large, the engine so that what is due first is done first.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
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


class MemoryBudget:
    """Bounds what the running jobs of one or more pools hold together. A job that alone exceeds it runs by itself.

    Args:
        total: In bytes; infinite: there is no bound.
    """

    def __init__(self, total: float = math.inf) -> None:
        self._total = total
        self._held = 0
        self._lock = threading.Lock()
        self._waiting: set[threading.Condition] = set()

    @property
    def held(self) -> int:
        """The bytes that running jobs hold."""
        return self._held

    def take(self, size: int, changed: threading.Condition) -> bool:
        """Whether there was room for ``size`` bytes, which are taken then; else ``changed`` is notified when there may
        be."""
        with self._lock:
            if size and self._held and self._held + size > self._total:
                self._waiting.add(changed)
                return False
            self._held += size
            return True

    def give_back(self, size: int) -> None:
        """To be called without holding any pool's condition."""
        with self._lock:
            self._held -= size
            waiting, self._waiting = self._waiting, set()
        for changed in waiting:
            with changed:
                changed.notify_all()


@dataclass(order=True, slots=True)
class _Job(Generic[Result]):
    """One piece of work that waits; the smallest is done first.

    Attributes:
        due: What the pool orders by, in seconds.
        sequence: Keeps equals in the order in which they came.
        cost_s: The seconds that the work is expected to take.
        decoded_bytes: The memory that its pictures take.
    """

    due: float
    sequence: int
    cost_s: float = field(compare=False)
    decoded_bytes: int = field(compare=False)
    work: Callable[[], Result] = field(compare=False, repr=False)
    context: Context = field(compare=False, repr=False)
    loop: asyncio.AbstractEventLoop | None = field(compare=False, repr=False)
    future: asyncio.Future[Result] | None = field(compare=False, repr=False)


class _OrderedPool:
    """Threads that take the smallest of the waiting jobs for which there is memory."""

    def __init__(self, workers: int, name: str, memory: MemoryBudget | None, *, lower_priority: bool) -> None:
        self._name = name
        self._memory = memory or MemoryBudget()
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

    async def _result_of(self, due: float, cost_s: float, decoded_bytes: int, work: Callable[[], Result]) -> Result:
        """The result of work, which is not done if the awaiting task is cancelled before it began."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._put(_Job(due, next(self._sequence), cost_s, decoded_bytes, work, copy_context(), loop, future))
        return await future

    def _put(self, job: _Job[Any]) -> None:
        with self._changed:
            if self._closed:
                raise RuntimeError(f"the pool {self._name} is closed")
            heapq.heappush(self._waiting, job)
            # A thread that was notified counts as idle until it wakes: one idle thread does for one waiting job only.
            if len(self._waiting) > self._idle and len(self._threads) < self._workers:
                self._start_thread()
            self._changed.notify()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        if self._lower_priority:
            _yield_to_event_loop()
        while True:
            with self._changed:
                while (job := None if self._closed else self._next()) is None:
                    if self._closed:
                        return
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
            size = job.decoded_bytes
            try:
                self._do(job)
            finally:
                # Else the last picture would be held until the next job comes.
                del job
                self._memory.give_back(size)

    def _next(self) -> _Job[Any] | None:
        """Takes the first job for which there is memory, and that memory; None: there is none.

        A job without room is overtaken until it is due, and then no longer: small ones would keep it waiting for ever.
        """
        waiting = self._waiting
        while waiting and _is_unwanted(waiting[0]):
            heapq.heappop(waiting)
        if not waiting:
            return None
        if self._memory.take(waiting[0].decoded_bytes, self._changed):
            return heapq.heappop(waiting)
        if waiting[0].due <= time.monotonic():
            return None
        for job in sorted(waiting)[1:]:
            if not _is_unwanted(job) and self._memory.take(job.decoded_bytes, self._changed):
                waiting.remove(job)
                heapq.heapify(waiting)
                return job
        return None

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

    Args:
        memory: What its running work may hold together, with that of other pools. None: there is no bound.
    """

    def __init__(self, workers: int, memory: MemoryBudget | None = None) -> None:
        super().__init__(workers, "imaging", memory, lower_priority=False)

    async def run(self, work: Callable[[], Result], *, at_once: bool = False, decoded_bytes: int = 0) -> Result:
        """Does ``work`` without holding up the event loop.

        Args:
            at_once: Whether it is so little that handing it over would take longer: then it is done on the spot.
            decoded_bytes: The memory that its pictures take, as far as is known. Larger work may be overtaken, and
                waits until there is room for it; alone it always runs.
        """
        if at_once:
            return work()
        cost_s = decoded_bytes / _BYTES_A_SECOND
        return await self._result_of(time.monotonic() + cost_s, cost_s, decoded_bytes, work)


class WorkerPool(_OrderedPool):
    """Threads for work that keeps a core busy, at a lower priority than the event loop's thread.

    The work that is due first is done first, whoever asked first. Under overload that finishes more in time than taking
    turns: of 256 at once, first come first served finished 13 and this order 42.

    Args:
        memory: As for ``ImagingPool``.
    """

    def __init__(self, workers: int, memory: MemoryBudget | None = None) -> None:
        super().__init__(workers, "engine", memory, lower_priority=True)

    async def run(
        self,
        work: Callable[[], Result],
        *,
        deadline: float = math.inf,
        cost_s: float = 0.0,
        decoded_bytes: int = 0,
    ) -> Result:
        """Runs ``work``; when the awaiting task is cancelled before it began, it never does.

        Args:
            deadline: The event loop's time at which the result is of no more use.
            cost_s: The seconds of one thread that it is expected to take.
            decoded_bytes: As for ``ImagingPool.run``.
        """
        return await self._result_of(deadline, cost_s, decoded_bytes, work)

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
        self._put(_Job(math.inf, next(self._sequence), 0.0, 0, work, copy_context(), None, None))


def _is_unwanted(job: _Job[Any]) -> bool:
    """Whether nobody waits for it any more."""
    return job.future is not None and job.future.done()


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
