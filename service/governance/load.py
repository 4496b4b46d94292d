"""Admission by load: what all requests at work may hold together, and a fair share of it for each key.

Every request at work holds memory, most of it copies of its image. The sum is bounded, and so is their number. A
request for which there is no room waits for a moment. Those who wait are served by max-min fairness: the key that holds
least comes first, within a key the one that came first. When too many wait, the key with most waiting requests loses
its newest one. So one caller with many clients cannot shut another one out.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from service.core.errors import ErrorKind, GatewayError

_RETRY_AFTER_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """Bounds of the work that one process takes on at a time.

    Attributes:
        requests: Most requests at work.
        bytes: Most bytes that requests at work hold together. One request alone may hold more.
        share: The part of both, from 0 to 1, that one key may take; 1 where callers cannot be told apart.
        waiting: Most requests that wait for room.
        wait_s: Longest wait for room, in seconds.
    """

    requests: int
    bytes: int
    share: float = 1.0
    waiting: int = 64
    wait_s: float = 0.5

    def __post_init__(self) -> None:
        if self.requests < 1 or self.bytes < 1:
            raise ValueError("requests and bytes must be at least 1")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must lie above 0 and be at most 1, not {self.share}")


@dataclass(slots=True)
class _Holding:
    """The work of one key, or of all."""

    requests: int = 0
    bytes: int = 0


@dataclass(eq=False, slots=True)
class _Waiting:
    key: str
    size: int
    sequence: int
    room: asyncio.Future[None] = field(repr=False)


class Place:
    """The part of a ``LoadLimiter``'s room that one request holds, from ``LoadLimiter.admitted``."""

    def __init__(self, limiter: LoadLimiter, key: str) -> None:
        self._limiter = limiter
        self._key = key
        self._size: int | None = None

    async def take(self, size: int) -> None:
        """Takes room for ``size`` bytes, once the request holds none.

        Raises:
            GatewayError: As ``LoadLimiter.admitted``.
        """
        assert self._size is None, "a place is taken once at a time"
        await self._limiter._enter(self._key, size)
        self._size = size

    def leave(self) -> None:
        """Gives the room back; does nothing where none is held."""
        if self._size is not None:
            self._limiter._give_back(self._key, self._size)
            self._size = None


class LoadLimiter:
    """One instance serves the whole process, on one event loop."""

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits
        self._all = _Holding()
        self._by_key: defaultdict[str, _Holding] = defaultdict(_Holding)
        self._waiting: list[_Waiting] = []
        self._sequence = itertools.count()

    @property
    def requests(self) -> int:
        """The number of requests at work."""
        return self._all.requests

    @property
    def bytes(self) -> int:
        """The bytes that requests at work hold."""
        return self._all.bytes

    @property
    def waiting(self) -> int:
        """The number of requests that wait for room."""
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def admitted(self, key: str, size: int) -> AsyncIterator[Place]:
        """Around the work on a request; the value is its place, which may be left for a while.

        Args:
            key: Names the caller, for the fair share. Empty: callers that cannot be told apart.
            size: The bytes that the request is going to hold.

        Raises:
            GatewayError: RATE_LIMITED ``overloaded``: there is no room, and too many wait, or this one has waited
                enough.
        """
        place = Place(self, key)
        await place.take(size)
        try:
            yield place
        finally:
            place.leave()

    async def _enter(self, key: str, size: int) -> None:
        if self._waiting or not self._fits(key, size):
            await self._wait(key, size)
        else:
            self._take(key, size)

    async def _wait(self, key: str, size: int) -> None:
        if len(self._waiting) >= self._limits.waiting:
            self._make_room_in_the_queue(key)
        waiting = _Waiting(key, size, next(self._sequence), asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        # There may be room for this one although the others that wait have none.
        self._admit_waiting()
        try:
            async with asyncio.timeout(self._limits.wait_s):
                await waiting.room
        except BaseException as error:
            if waiting.room.done() and not waiting.room.cancelled() and waiting.room.exception() is None:
                # It was let in just as its caller left or its time ran out.
                self._give_back(key, size)
            elif waiting in self._waiting:
                self._waiting.remove(waiting)
                self._admit_waiting()
            if isinstance(error, TimeoutError):
                raise self._overloaded() from None
            raise

    def _make_room_in_the_queue(self, key: str) -> None:
        """Refuses the newest waiting request of the key that has most of them; that may be the one that asks.

        Raises:
            GatewayError: It is the one that asks.
        """
        counts: defaultdict[str, int] = defaultdict(int)
        for each in self._waiting:
            counts[each.key] += 1
        greediest = max(counts, key=lambda name: counts[name], default=key)
        if counts[greediest] <= counts[key] + 1:
            raise self._overloaded()
        newest = max((each for each in self._waiting if each.key == greediest), key=lambda each: each.sequence)
        self._waiting.remove(newest)
        newest.room.set_exception(self._overloaded())

    def _admit_waiting(self) -> None:
        """Lets in whoever there is room for, fairest first."""
        while self._waiting:
            fitting = [each for each in self._waiting if self._fits(each.key, each.size)]
            if not fitting:
                return
            chosen = min(fitting, key=lambda each: (self._held_by(each.key), each.sequence))
            self._waiting.remove(chosen)
            if not chosen.room.done():
                self._take(chosen.key, chosen.size)
                chosen.room.set_result(None)

    def _held_by(self, key: str) -> tuple[int, int]:
        """The load that a key holds: bytes, then requests, both as they count for fairness."""
        holding = self._by_key.get(key)
        return (holding.bytes, holding.requests) if holding else (0, 0)

    def _fits(self, key: str, size: int) -> bool:
        limits, holding = self._limits, self._by_key.get(key, _Holding())
        if self._all.requests == 0:
            return True
        if self._all.requests >= limits.requests or self._all.bytes + size > limits.bytes:
            return False
        if limits.share == 1 or not key or holding.requests == 0:
            return True
        return holding.requests < limits.share * limits.requests and holding.bytes + size <= limits.share * limits.bytes

    def _take(self, key: str, size: int) -> None:
        for holding in (self._all, self._by_key[key]):
            holding.requests += 1
            holding.bytes += size

    def _give_back(self, key: str, size: int) -> None:
        for holding in (self._all, self._by_key[key]):
            holding.requests -= 1
            holding.bytes -= size
        if self._by_key[key].requests == 0:
            del self._by_key[key]
        self._admit_waiting()

    def _overloaded(self) -> GatewayError:
        return GatewayError(
            ErrorKind.RATE_LIMITED,
            f"This gateway is at work on {self._all.requests} requests of {self._all.bytes / 1e6:.0f} MB together, and "
            "has no room for another one just now.",
            code="overloaded",
            retry_after_s=_RETRY_AFTER_S,
            may_have_run=False,
        )
