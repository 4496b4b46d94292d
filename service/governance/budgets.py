"""Budgets in USD: what a request is charged against, and when a budget that is used up lets it pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal

from service.core.errors import ErrorKind, GatewayError
from service.governance.windows import Window

MOST_USD = 1_000_000.0
"""The most that one request counts as, in dollars; no budget is larger."""

NANOS_PER_USD = 1_000_000_000
"""Money is counted in whole billionths of a dollar: sums are exact, and a single token's price is not rounded away."""


def to_nanos(usd: float) -> int:
    """Whole billionths of a dollar, rounded up, so that what costs anything never counts as free.

    Raises:
        ValueError: The amount is negative or no finite number.
    """
    if not math.isfinite(usd) or usd < 0:
        raise ValueError(f"an amount of money must be a number of at least 0, not {usd}")
    # Fifteen digits: 0.1 + 0.2 is a little more than 0.3 in floating point, and is not to be rounded up for that.
    return int((Decimal(f"{usd:.15g}") * NANOS_PER_USD).to_integral_value(ROUND_CEILING))


def within_reason(usd: float) -> float:
    """At most ``MOST_USD``: sums of larger amounts do not fit into the 64-bit numbers of a store."""
    return min(usd, MOST_USD)


def usd_text(nanos: int) -> str:
    """``$0.04`` for people: cents, and further digits only where there are any."""
    digits = f"{nanos / NANOS_PER_USD:.6f}".rstrip("0")
    whole, _, fraction = digits.partition(".")
    return f"${whole}.{fraction:0<2}"


@dataclass(frozen=True, slots=True)
class Budget:
    """At most ``usd`` dollars in every ``window``."""

    usd: float
    window: Window

    def __post_init__(self) -> None:
        to_nanos(self.usd)

    def __str__(self) -> str:
        return f"{usd_text(self.limit_nanos)} per {self.window}"

    @property
    def limit_nanos(self) -> int:
        return to_nanos(self.usd)

    def resets_at(self, spent: Mapping[int, int], wanted_nanos: int, now: float) -> float | None:
        """The first Unix time at which ``wanted_nanos`` fits again if nothing else is spent; None: it never does.

        Args:
            spent: Nanos by the start of their slice.
        """
        if wanted_nanos > self.limit_nanos:
            return None
        counted = {start: nanos for start, nanos in spent.items() if self.window.forgotten_at(start) > now}
        total = sum(counted.values())
        for start in sorted(counted):
            if total + wanted_nanos <= self.limit_nanos:
                break
            total -= counted[start]
            now = self.window.forgotten_at(start)
        return now


@dataclass(frozen=True, slots=True)
class Account:
    """One budget of one key or team. ``name`` is what the store keeps its spending under.

    The name does not hold the amount: raising a budget does not forget what was spent.
    """

    owner: str
    budget: Budget

    @property
    def name(self) -> str:
        return f"{self.owner}:{self.budget.window.span.value}:{'calendar' if self.budget.window.aligned else 'rolling'}"


def exceeded(account: Account, spent: Mapping[int, int], wanted_nanos: int, now: float) -> GatewayError:
    """The refusal of a request that a budget has no room for: 402, with when it resets."""
    budget = account.budget
    kind, _, name = account.owner.partition(":")
    said = f"The budget of {kind} {name!r} ({budget}) has no room for this request"
    used = sum(nanos for start, nanos in spent.items() if budget.window.forgotten_at(start) > now)
    resets_at = budget.resets_at(spent, wanted_nanos, now)
    estimate = f"it is estimated at {usd_text(wanted_nanos)}, and {usd_text(used)} are spent or reserved"
    if resets_at is None:
        return GatewayError(
            ErrorKind.BUDGET_EXCEEDED,
            f"{said}: it is estimated at {usd_text(wanted_nanos)}, more than the whole budget.",
            may_have_run=False,
        )
    moment = datetime.fromtimestamp(math.ceil(resets_at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return GatewayError(
        ErrorKind.BUDGET_EXCEEDED,
        f"{said}: {estimate}. There is room again at {moment}.",
        retry_after_s=resets_at - now,
        may_have_run=False,
    )
