"""The end of a service, step by step, so that no request is lost and nothing is paid for twice.

1. Health says NOT_SERVING. Load balancers take some seconds to see that, and send requests meanwhile: they are served
   (SIGTERM only; Ctrl-C does not wait for load balancers).
2. New calls are refused with a status that says to try again, which has never begun any work.
3. A moment later connections are closed for new calls (HTTP/2's GOAWAY), so that clients connect to another replica.
4. Work under way goes on for as long as the configuration says.
5. Work that is left is ended, and its callers are told whether a provider may have done it.

A second signal goes to step 5 at once.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse

from service.api.under_way import CallsUnderWay
from service.composition.signals import StopSignals
from service.concurrency.tasks import ended, started
from service.gateway.once import OnceRunner

log = logging.getLogger("service")

LIVENESS = "liveness"
"""The health name that is SERVING for as long as the process answers, whatever else is the matter."""

# Seconds in which a client that reuses a connection is told so by a status, before the connection is closed to it.
_REFUSED_S = 1.0
# Seconds for work that was ended to settle what it reserved, and tell its provider and its caller.
_SETTLED_WITHIN_S = 5.0
# Seconds for answers that are being read. Health watches never end by themselves, and wait as long.
_READ_WITHIN_S = 5.0
_READ_AT_ONCE_S = 1.0


@dataclass(frozen=True, slots=True)
class DrainTimes:
    """Seconds of the steps above.

    Attributes:
        lame_duck_s: Of step 1.
        under_way_s: Of steps 2 to 4 together.
    """

    lame_duck_s: float
    under_way_s: float

    @property
    def longest_s(self) -> float:
        """The most that all steps together take."""
        return self.lame_duck_s + self.under_way_s + _SETTLED_WITHIN_S + _READ_WITHIN_S


class Drain:
    """Ends one service.

    Args:
        names: The health names that turn NOT_SERVING.
        once: Has work under way whose callers may have gone.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        health: HealthServicer,
        names: Iterable[str],
        under_way: CallsUnderWay,
        once: OnceRunner,
        times: DrainTimes,
    ) -> None:
        self._server = server
        self._health = health
        self._names = tuple(names)
        self._under_way = under_way
        self._once = once
        self._times = times

    async def run(self, signals: StopSignals) -> None:
        """All steps. Returns when the server has stopped and no work is left."""
        for name in self._names:
            await self._health.set(name, HealthCheckResponse.NOT_SERVING)
        patient = signals.first is signal.SIGTERM
        if patient:
            await signals.hurry(within_s=self._times.lame_duck_s)
        self._under_way.refuse()
        log.info("finishing what is under way", extra={"fields": {"requests": len(self._under_way)}})
        if not await self._finished(signals, min(_REFUSED_S, self._times.under_way_s)):
            closing = started(self._server.stop(self._times.under_way_s + _SETTLED_WITHIN_S + _READ_WITHIN_S))
            if not await self._finished(signals, self._times.under_way_s - _REFUSED_S):
                log.warning("ending what is under way", extra={"fields": {"requests": len(self._under_way)}})
                self._under_way.end()
                await _within(self._settled(), _SETTLED_WITHIN_S)
        else:
            closing = None
        await self._once.aclose(0.0)
        reading = started(self._server.stop(_READ_AT_ONCE_S if signals.hurried else _READ_WITHIN_S))
        await _first_of(reading, started(signals.hurry()))
        await self._server.stop(_READ_AT_ONCE_S)
        await ended([each for each in (reading, closing) if each is not None])

    async def _finished(self, signals: StopSignals, within_s: float) -> bool:
        """Whether all work has ended by itself, in time and before a second signal."""
        working = started(_within(self._settled(), within_s))
        await _first_of(working, started(signals.hurry()))
        return not working.cancelled() and working.result()

    async def _settled(self) -> None:
        await self._under_way.all_ended()
        await self._once.settled()


async def _within(waiting: Awaitable[None], seconds: float) -> bool:
    """Whether ``waiting`` ended within that time."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await waiting
    except TimeoutError:
        return False
    return True


async def _first_of(*tasks: asyncio.Task[Any]) -> None:
    """Waits until one has ended, and cancels the others."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await ended([task for task in tasks if not task.done()])
