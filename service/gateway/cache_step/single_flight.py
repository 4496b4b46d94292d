"""Identical requests that are under way at once: one does the work, the others get what it comes to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

from service.core.errors import GatewayError

Asked = TypeVar("Asked")
Outcome = TypeVar("Outcome")


class Flight(Generic[Asked, Outcome]):
    """Work that others may be waiting for. ``asked`` is what the one who does it asked for."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        loop = asyncio.get_running_loop()
        self._landed: asyncio.Future[Outcome | GatewayError | None] = loop.create_future()
        self._over: asyncio.Future[None] = loop.create_future()

    def land(self, outcome: Outcome | GatewayError | None) -> None:
        """Tells everybody who waits what came of it, once. None: nothing that is of use to others."""
        if not self._landed.done():
            self._landed.set_result(outcome)

    async def landed(self) -> Outcome | GatewayError | None:
        """Waits for the result of the work, and returns it. Cancelling this wait does not affect the work."""
        await asyncio.wait([self._landed])
        return self._landed.result()

    async def over(self) -> None:
        """Waits until it is no longer under way, which may be some time after it has landed."""
        await asyncio.wait([self._over])

    def end(self) -> None:
        """Tells those who still wait for it to land that there is nothing for them, and that it is over."""
        self.land(None)
        self._over.set_result(None)


class SingleFlight(Generic[Asked, Outcome]):
    """Flights by key. Belongs to one event loop."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight[Asked, Outcome]] = {}

    def under_way(self, key: bytes) -> Flight[Asked, Outcome] | None:
        """The flight that others have begun, if one is under way."""
        return self._flights.get(key)

    @contextlib.asynccontextmanager
    async def begun(self, key: bytes, asked: Asked) -> AsyncIterator[Flight[Asked, Outcome]]:
        """A flight of one's own, under way until the block is left; then those who still wait are told nothing."""
        assert key not in self._flights, "whoever finds one under way waits for it"
        flight = self._flights[key] = Flight(asked)
        try:
            yield flight
        finally:
            del self._flights[key]
            flight.end()
