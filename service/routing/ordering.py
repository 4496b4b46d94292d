"""In which order the targets of an alias are tried, where that depends on price, speed or load.

Three policies, each a pure function from what is known of the targets to their order. Targets of which nothing is
known are never lost: an order always holds every target, so that each remains a fallback.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from statistics import median

from service.core.values import Target


class AliasPolicy(StrEnum):
    """In which order the targets of an alias are tried: as written, drawn by weight, or by the functions below."""

    ORDER = "order"
    WEIGHTED = "weighted"
    CHEAPEST = "cheapest"
    FASTEST = "fastest"
    LEAST_BUSY = "least_busy"


EXPLORATION = 0.05
"""The share of requests that ``fastest`` gives to a target at random, so that one that has become faster is noticed. At
this share, a target among three that recovers is found within some sixty requests, and the mean time rises by less than
five per cent of the difference between the targets."""

_REMEMBERED_TIMES = 15
"""So many of a target's last times make its median: enough to outvote seven outliers, few enough to follow a change."""


def cheapest(targets: Sequence[Target], cost_usd: Callable[[Target], float | None]) -> tuple[Target, ...]:
    """By the estimated cost of this very request, lowest first; unknown costs last. Equal costs keep their order."""

    def rank(target: Target) -> tuple[bool, float]:
        cost = cost_usd(target)
        return cost is None, cost or 0.0

    return tuple(sorted(targets, key=rank))


def fastest(
    targets: Sequence[Target],
    time_s: Callable[[Target], float | None],
    draw: Callable[[], float],
    *,
    exploration: float = EXPLORATION,
) -> tuple[Target, ...]:
    """By the usual time of each target, shortest first; one that has no time yet goes before all others.

    Args:
        draw: Returns numbers uniform in [0, 1). Now and then they put a target at random first.
    """

    def rank(target: Target) -> float:
        time = time_s(target)
        return -1.0 if time is None else time

    ordered = sorted(targets, key=rank)
    if draw() < exploration:
        ordered.insert(0, ordered.pop(int(draw() * len(ordered))))
    return tuple(ordered)


def least_busy(targets: Sequence[Target], running: Callable[[Target], int]) -> tuple[Target, ...]:
    """By the number of tries that are under way at each, lowest first. Equal numbers keep their order."""
    return tuple(sorted(targets, key=running))


class Standings:
    """The standing of each target in this process: tries under way, and the times of those that succeeded."""

    def __init__(self) -> None:
        self._running: dict[Target, int] = {}
        self._times: dict[Target, deque[float]] = {}

    def running(self, target: Target) -> int:
        """The number of tries under way."""
        return self._running.get(target, 0)

    def time_s(self, target: Target) -> float | None:
        """The median of the last times, in seconds; None before the first."""
        times = self._times.get(target)
        return median(times) if times else None

    @contextmanager
    def trying(self, target: Target) -> Iterator[None]:
        """Around a try of a target."""
        self._running[target] = self.running(target) + 1
        try:
            yield
        finally:
            left = self._running.pop(target) - 1
            if left:
                self._running[target] = left

    def took(self, target: Target, seconds: float) -> None:
        """Notes the time of a try. A failed one should count as long as its request had: failing fast is not fast."""
        self._times.setdefault(target, deque(maxlen=_REMEMBERED_TIMES)).append(seconds)
