"""From configuration to metrics that can be read."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping

from service.config import Config
from service.observation.endpoint import served
from service.observation.metrics import Metrics

log = logging.getLogger("service")


@contextlib.asynccontextmanager
async def opened_metrics(
    config: Config, metrics: Metrics | None, gauges: Mapping[tuple[str, str], Callable[[], float]]
) -> AsyncIterator[None]:
    """Serves the metrics where the configuration says.

    Args:
        metrics: None: they are switched off.
        gauges: By name and meaning, read when they are asked for.

    Raises:
        SystemExit: The configured address cannot be used. Where the default one cannot, there is a warning and no
            metrics: several copies run on one machine.
    """
    address = config.listen.metrics
    if metrics is None or address is None:
        yield
        return
    for (name, meaning), value in gauges.items():
        metrics.gauge(name, meaning, value)
    async with contextlib.AsyncExitStack() as stack:
        try:
            port = await stack.enter_async_context(served(metrics, address.host, address.port))
        except OSError as error:
            sentence = (
                f"Metrics cannot be served on {address}: {error.strerror}. listen.metrics chooses another address."
            )
            if "metrics" in config.listen.model_fields_set:
                raise SystemExit(sentence) from None
            log.warning(sentence)
        else:
            log.info("metrics", extra={"fields": {"address": f"{address.host}:{port}"}})
        yield
