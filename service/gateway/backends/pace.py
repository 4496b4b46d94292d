"""Estimates of the embedded engine's step times on this machine, learned from measured times."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

Result = TypeVar("Result")

# The share of the newest measurement in the moving average: five steps make up for a change.
_NEWEST: Final = 0.2
_MEGAPIXEL: Final = 1_000_000


class Pace:
    """Seconds of one thread per megapixel, by step; a moving average. Unknown steps are taken to be free.

    Measurements come from worker threads; a lost one does no harm.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def expected_s(self, step: str, pixels: int) -> float:
        """The seconds that a step on so many pixels is going to take; 0 before the first has ended."""
        return self._seconds.get(step, 0.0) * pixels / _MEGAPIXEL

    def measured(self, step: str, pixels: int, work: Callable[[], Result]) -> Callable[[], Result]:
        """``work`` that also takes its time."""

        def timed() -> Result:
            begun = time.thread_time()
            result = work()
            newest = (time.thread_time() - begun) * _MEGAPIXEL / max(1, pixels)
            known = self._seconds.get(step)
            self._seconds[step] = newest if known is None else known + _NEWEST * (newest - known)
            return result

        return timed
