"""What happens while a request is served, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.core.values import Attempt, Target
from service.gateway.outcome import FinishedImage


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """A target is being tried."""

    target: Target
    fallback_index: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """A target failed; ``next_target`` is tried now, None when there is none left."""

    attempt: Attempt
    reason: str
    next_target: Target | None


@dataclass(frozen=True, slots=True)
class CacheConsulted:
    """The cache was looked into. On a hit, ``target`` is who made the images that come next; None: it was a miss.

    ``fallback_index`` is that target's place in the route.
    """

    target: Target | None = None
    fallback_index: int = 0


VisibleEvent = AttemptStarted | AttemptFailed | FinishedImage
"""What streams tell."""

Event = VisibleEvent | CacheConsulted
Emit = Callable[[Event], None]
"""Takes an event as it happens. Must not block or raise."""


def ignore(_: Event) -> None:
    """For callers who only want the outcome."""
