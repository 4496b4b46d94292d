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
    told: HealthCheckResponse.ServingStatus | None = None

    async def look() -> None:
        nonlocal told
        status, reason = HealthCheckResponse.SERVING, ""
        try:
            await links.check()
        except GatewayError as error:
            status, reason = HealthCheckResponse.NOT_SERVING, str(error.__cause__ or error)
        if status == told:
            return
        if status == HealthCheckResponse.NOT_SERVING:
            fields = {"reason": reason[:200]}
            log.error("results cannot be stored: this replica is not ready", extra={"fields": fields})
        elif told is not None:
            log.info("results can be stored again")
        told = status
        await health.set(RESULTS_HEALTH, status)

    return repeating(look, name="check of the store of results", every_s=_CHECK_EVERY_S)
