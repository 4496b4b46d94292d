"""A circuit breaker for each target: one that keeps failing is left alone for a while."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from service.core.errors import ErrorKind, GatewayError
from service.core.values import Target
from service.routing.rules import RULES

_PROBE_HINT_S = 1.0


class CircuitState(StrEnum):
    """CLOSED lets everything through, OPEN nothing, HALF_OPEN one probe at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a circuit opens, and for how long.

    Attributes:
        failures: Failures in a row, of the kinds that count, that open the circuit.
        open_s: Seconds until a probe is let through.
        probe_s: Seconds after which a probe that never reported back counts as lost, so that a target cannot
            stay shut for ever.
    """

    failures: int = 5
    open_s: float = 30.0
    probe_s: float = 600.0

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ValueError(f"failures must be at least 1, not {self.failures}")
        for name, value in (("open_s", self.open_s), ("probe_s", self.probe_s)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a number above 0, not {value}")


@dataclass(frozen=True, slots=True)
class Circuit:
    """The health of one target. Immutable; all times are instants of one monotonic clock, in seconds."""

    failures: int = 0
    opened_at: float | None = None
    probe_since: float | None = None

    def state(self, now: float, policy: BreakerPolicy) -> CircuitState:
        if self.opened_at is None:
            return CircuitState.CLOSED
        return CircuitState.HALF_OPEN if now >= self.opened_at + policy.open_s else CircuitState.OPEN

    def admit(self, now: float, policy: BreakerPolicy) -> Circuit | None:
        """The circuit once a request has been let through, or None when none may be now."""
        state = self.state(now, policy)
        if state is CircuitState.CLOSED:
            return self
        if state is CircuitState.OPEN or (self.probe_since is not None and now < self.probe_since + policy.probe_s):
            return None
        return replace(self, probe_since=now)

    def succeeded(self) -> Circuit:
        return _HEALTHY

    def failed(self, now: float, policy: BreakerPolicy) -> Circuit:
        """After a failure that counts."""
        failures = self.failures + 1
        if failures < policy.failures:
            return Circuit(failures)
        # A failure of a request that was let through before the circuit opened must not keep it open for longer;
        # one that comes after the timer is the probe's, or as good as one.
        still_open = self.state(now, policy) is CircuitState.OPEN
        return Circuit(failures, opened_at=self.opened_at if still_open else now)

    def undecided(self) -> Circuit:
        """After an outcome that says nothing about the target's health: the next request may probe."""
        return replace(self, probe_since=None)

    def retry_after_s(self, now: float, policy: BreakerPolicy) -> float:
        """Seconds until a probe may be let through; 0 when it may now."""
        return 0.0 if self.opened_at is None else max(0.0, self.opened_at + policy.open_s - now)


_HEALTHY = Circuit()


class Breakers:
    """The circuits of all targets: what ``Circuit`` decides, remembered.

    Ask ``admit`` before each try of a target, then report its end exactly once.
    Only targets with failures take up room, and no more than ``most``: model names may come from callers.
    """

    def __init__(self, policy: BreakerPolicy, *, most: int = 10_000) -> None:
        self._policy = policy
        self._most = most
        self._circuits: dict[Target, Circuit] = {}

    def admit(self, target: Target, now: float) -> GatewayError | None:
        """None when the target may be asked, otherwise the UNAVAILABLE error that stands for asking it."""
        circuit = self._circuits.get(target, _HEALTHY)
        admitted = circuit.admit(now, self._policy)
        if admitted is not None:
            self._remember(target, admitted)
            return None
        return GatewayError(
            ErrorKind.UNAVAILABLE,
            f"{target} has failed {circuit.failures} times in a row and is given a rest.",
            code="circuit_open",
            # While a probe is out, nobody knows; it has usually come back within moments.
            retry_after_s=circuit.retry_after_s(now, self._policy) or _PROBE_HINT_S,
            may_have_run=False,
        )

    def succeeded(self, target: Target) -> None:
        self._remember(target, _HEALTHY)

    def failed(self, target: Target, error: GatewayError, now: float) -> None:
        """Failures that do not count against the target (a refused request, an impatient caller) only end a probe."""
        circuit = self._circuits.get(target, _HEALTHY)
        counts = RULES[error.kind].breaker_counts
        self._remember(target, circuit.failed(now, self._policy) if counts else circuit.undecided())

    def state(self, target: Target, now: float) -> CircuitState:
        """The state of a target's circuit; closed unless it has failed of late."""
        return self._circuits.get(target, _HEALTHY).state(now, self._policy)

    def __len__(self) -> int:
        """The number of targets that have failed of late."""
        return len(self._circuits)

    def _remember(self, target: Target, circuit: Circuit) -> None:
        self._circuits.pop(target, None)
        if circuit != _HEALTHY:
            self._circuits[target] = circuit
        if len(self._circuits) > self._most:
            # Insertion order is order of last use: the one untouched for longest goes.
            del self._circuits[next(iter(self._circuits))]
