"""The state of the circuits of targets that are not well, read when it is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.core.values import Target
from service.routing.breaker import CircuitState

_VALUES = {CircuitState.CLOSED: 0.0, CircuitState.HALF_OPEN: 1.0, CircuitState.OPEN: 2.0}


class CircuitCollector(Collector):
    """One gauge a target, from its first failure on: 0 closed, 1 half open, 2 open.

    Args:
        targets: Those that may be shown.
        state: Tells a target's state at an instant of the monotonic clock, in seconds.
    """

    def __init__(self, targets: Sequence[Target], state: Callable[[Target, float], CircuitState]) -> None:
        self._targets = targets
        self._state = state
        self._shown: dict[Target, None] = {}

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "image_variations_circuit_state",
            "Whether a target is given a rest: 0 no, 1 one request may try it, 2 yes. Left out: it never was.",
            labels=("provider", "model"),
        )
        now = time.monotonic()
        for target in self._targets:
            state = self._state(target, now)
            if state is not CircuitState.CLOSED:
                self._shown[target] = None
            if target in self._shown:
                family.add_metric((target.provider, target.model), _VALUES[state])
        yield family
