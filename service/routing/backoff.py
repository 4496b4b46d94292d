"""The wait before a request is repeated."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter.

    Attributes:
        base_s: Longest wait before the first retry, in seconds; it doubles with every further one.
        cap_s: Longest wait before any retry, in seconds.
    """

    base_s: float = 0.5
    cap_s: float = 20.0

    def __post_init__(self) -> None:
        for name, value in (("base_s", self.base_s), ("cap_s", self.cap_s)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a number of at least 0, not {value}")

    def delay_s(self, retry: int, draw: float, hint_s: float | None = None) -> float:
        """Seconds to wait before a retry.

        Uniform in [0, min(cap, base * 2**retry)), which spreads clients that failed together best (Brooker,
        "Exponential Backoff and Jitter", 2015). A hint from the other side wins, to the letter: it knows.

        Args:
            retry: 0 before the first retry.
            draw: Uniform in [0, 1).
            hint_s: What the provider asked for, if it did.
        """
        if hint_s is not None:
            return max(hint_s, 0.0)
        return draw * self.longest_s(retry)

    def longest_s(self, retry: int) -> float:
        """The upper bound of the seconds to wait before a retry about which there is no hint."""
        # The exponent is bounded, or a patient caller would overflow the float.
        return min(self.cap_s, self.base_s * 2.0 ** min(retry, 64))
