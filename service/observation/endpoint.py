"""The address where Prometheus reads the metrics, and the measuring of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from prometheus_client import start_http_server

from service.concurrency.tasks import ended, started
from service.observation.metrics import Metrics

_MEASURED_EVERY_S: Final = 0.5


@contextlib.asynccontextmanager
async def served(metrics: Metrics, host: str, port: int) -> AsyncIterator[int]:
    """Serves the metrics on a thread of its own; the value is the port.

    Raises:
        OSError: The address is taken, or is none of this machine's.
    """
    # It looks up the name of the host.
    server, thread = await asyncio.to_thread(start_http_server, port, host, metrics.registry)
    measuring = started(_measure_lag(metrics))
    try:
        yield int(server.server_port)
    finally:
        await ended([measuring])
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await asyncio.to_thread(thread.join)


async def _measure_lag(metrics: Metrics) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _MEASURED_EVERY_S
        await asyncio.sleep(_MEASURED_EVERY_S)
        metrics.event_loop_lag.observe(max(0.0, loop.time() - due))
