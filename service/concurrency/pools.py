"""Pools of threads for work that would hold up the event loop.

Work runs in the context (contextvars) of the task that asks for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

_log = logging.getLogger("service.engine")

Result = TypeVar("Result")


MOST_BYTES_AT_ONCE = 500_000
"""Looking through or copying this many bytes takes a quarter of a millisecond, and so does handing it to a thread."""


class ImagingPool:
    """Threads for decoding and encoding, apart from the engine's, so that quick work never waits for slow."""

    def __init__(self, workers: int) -> None:
        self._executor = ThreadPoolExecutor(workers, "imaging")

    async def run(self, work: Callable[[], Result], *, at_once: bool = False) -> Result:
        """Does ``work`` where it holds nobody up.

        Args:
            at_once: Whether it is so little that handing it over would take longer: then it is done on the spot.
        """
        if at_once:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._executor, copy_context().run, work)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


class WorkerPool:
    """Threads for work that keeps a core busy, at a lower priority than the event loop's thread."""

    def __init__(self, workers: int) -> None:
        self._executor: Executor = ThreadPoolExecutor(workers, "engine", initializer=_yield_to_event_loop)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Runs ``work``; when the awaiting task is cancelled before it began, it never does."""
        return await asyncio.wrap_future(self._executor.submit(copy_context().run, work))

    def in_background(self, work: Callable[[], None]) -> None:
        """Runs ``work`` without anyone waiting for it; its failure is logged."""
        self._executor.submit(copy_context().run, work).add_done_callback(_log_failure)

    def close(self) -> None:
        """Drops queued work and lets running work end."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _log_failure(done: Future[None]) -> None:
    if not done.cancelled() and (failure := done.exception()) is not None:
        _log.error("background work of the engine failed", exc_info=failure)


def _yield_to_event_loop() -> None:
    """Lowers this thread's priority, so that requests are answered while variations are being made."""
    if sys.platform == "linux":
        # On Linux a "process" here is a thread.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
