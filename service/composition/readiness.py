"""Tells the health checks of load balancers whether results can be stored."""

from __future__ import annotations

import contextlib
import logging
from typing import Final

from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse

from service.concurrency.tasks import repeating
from service.core.errors import GatewayError
from service.gateway.delivery.links import Links

log = logging.getLogger("service.results")

RESULTS_HEALTH: Final = "results"
"""The name under which ``grpc.health.v1`` tells it. Not the services' own: those answer without a store, too."""

_CHECK_EVERY_S: Final = 5.0


def watching_results(health: HealthServicer, links: Links) -> contextlib.AbstractAsyncContextManager[None]:
    """A block during which the health of ``RESULTS_HEALTH`` follows the store of results; each change is logged."""
    known: bool | None = None

    async def look() -> None:
        nonlocal known
        reason = ""
        try:
            await links.check()
        except GatewayError as error:
            reason = str(error.__cause__ or error)[:200]
        storable = not reason
        if storable == known:
            return
        if not storable:
            log.error("results cannot be stored: this replica is not ready", extra={"fields": {"reason": reason}})
        elif known is not None:
            log.info("results can be stored again")
        known = storable
        serving, not_serving = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
        await health.set(RESULTS_HEALTH, serving if storable else not_serving)

    return repeating(look, name="check of the store of results", every_s=_CHECK_EVERY_S)
