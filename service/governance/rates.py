"""Rate limits: how many requests or images in any span of a given length, counted in slices of that span."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.core.errors import ErrorKind, GatewayError

MOST: Final = 1_000_000
"""The highest rate."""

SLICES_PER_WINDOW: Final = 60
"""A unit counts until its slice's last instant is out of the window: for up to a sixtieth of the window too long and
never too short, so no span of the window's length ever holds more than the limit. A store looks at 61 numbers an
account, however many units there are."""


LIMIT_HEADER = "x-ratelimit-limit-requests"


class Counts(StrEnum):
    """The unit that a rate limit counts."""

    REQUESTS = "requests"
    IMAGES = "images"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``amount`` requests or images in any span of ``window_s`` seconds."""

    counts: Counts
    amount: int
    window_s: int

    def __post_init__(self) -> None:
        if not (1 <= self.amount <= MOST and self.window_s >= 1):
            raise ValueError(f"a rate limit is from 1 to {MOST} in a window of at least a second")

    def __str__(self) -> str:
        return f"{self.amount} {self.counts.value} per {_window_text(self.window_s)}"

    def current_slice(self, now: float) -> int:
        """The number of the slice that ``now`` (Unix seconds) is in."""
        return math.floor(now * SLICES_PER_WINDOW / self.window_s)

    def forgotten_at(self, slice_number: int) -> float:
        """When the units of a slice no longer count, in Unix seconds."""
        return (slice_number + 1 + SLICES_PER_WINDOW) * self.window_s / SLICES_PER_WINDOW

    def room_at(self, units: Mapping[int, int], cost: int, now: float) -> float:
        """The first Unix time at which ``cost`` units are within the limit if nothing else is counted.

        Args:
            units: Those that count now, by their slice.
            cost: At most the limit.
        """
        used = sum(units.values())
        for number in sorted(units):
            if used + cost <= self.amount:
                break
            used -= units[number]
            now = self.forgotten_at(number)
        return now


@dataclass(frozen=True, slots=True)
class RateAccount:
    """One rate limit of one key or team."""

    owner: str
    rate: Rate

    @property
    def name(self) -> str:
        """The name that a store counts it under. It does not hold the amount: a raised limit forgets nothing."""
        return f"{self.owner}:{self.rate.counts.value}:{self.rate.window_s}"


@dataclass(frozen=True, slots=True)
class Standing:
    """A caller's standing with the request limit that is closest to being used up.

    ``resets_s``: seconds until all of ``limit`` is there again if nothing more is asked for.
    """

    limit: int
    remaining: int
    resets_s: float

    def headers(self) -> dict[str, str]:
        """As response headers, in the way of OpenAI."""
        return {
            LIMIT_HEADER: str(self.limit),
            "x-ratelimit-remaining-requests": str(max(0, self.remaining)),
            "x-ratelimit-reset-requests": duration_text(self.resets_s),
        }


def standing_of(rate: Rate, units: Mapping[int, int], now: float) -> Standing:
    """The standing of a request limit, given the units that count at ``now`` (Unix seconds), by their slice."""
    resets_s = max(0.0, rate.forgotten_at(max(units)) - now) if units else 0.0
    return Standing(rate.amount, rate.amount - sum(units.values()), resets_s)


def tightest(standings: list[Standing]) -> Standing | None:
    """The one that refuses first: least remaining, then longest until it resets."""
    return min(standings, key=lambda standing: (standing.remaining, -standing.resets_s), default=None)


def limited(account: RateAccount, cost: int, retry_after_s: float | None) -> GatewayError:
    """The refusal of a request over a rate limit: 429, with when to come back.

    Args:
        retry_after_s: None where the request alone is more than the limit.
    """
    kind, _, name = account.owner.partition(":")
    said = f"The rate limit of {kind} {name!r} is {account.rate}"
    if retry_after_s is None:
        return GatewayError(
            ErrorKind.INVALID_REQUEST,
            f"{said}; {cost} images in one request can never be within it.",
            code="n_over_rate_limit",
            param="n",
            may_have_run=False,
        )
    return GatewayError(
        ErrorKind.RATE_LIMITED,
        f"{said}. Try again in {duration_text(retry_after_s)}.",
        retry_after_s=retry_after_s,
        may_have_run=False,
    )


def _window_text(seconds: int) -> str:
    """``1m``, ``6h`` or ``90s``: a window as the configuration has it."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def duration_text(seconds: float) -> str:
    """``6m0s``, ``1h0m0s``, ``1.5s`` or ``20ms``: durations as OpenAI's rate limit headers have them."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    if seconds < 60:
        return f"{round(seconds, 3):g}s"
    whole = -int(-seconds // 1)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}h{minutes}m{left}s" if hours else f"{minutes}m{left}s"
