"""What happens while a request is served, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from service.core.values import Attempt, ImageFormat, Size, Target, Usage


@dataclass(frozen=True, slots=True)
class FinishedImage:
    """One variation as it goes to the caller: ``data`` or ``url``, never both."""

    index: int
    size: Size
    format: ImageFormat
    data: bytes = field(default=b"", repr=False)
    url: str = ""
    revised_prompt: str = ""


@dataclass(frozen=True, slots=True)
class CacheReport:
    """How the cache was used for a request.

    Attributes:
        threshold: The least similarity that counted as a semantic hit.
        requested: The first target of the request's route.
        hit: Whether the images come from the cache.
        id: Of the entry that was served or written. Empty: none was.
        hit_type: ``direct`` or ``semantic``; empty for a miss.
        similarity: Of the source to that of the entry, in [0, 1]; None for a miss.
        used: The target that made the images that were served; None for a miss.
    """

    threshold: float
    requested: Target
    hit: bool = False
    id: str = ""
    hit_type: str = ""
    similarity: float | None = None
    used: Target | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that can be told about a request that succeeded.

    Attributes:
        images: By ascending index; fewer than asked for only with a warning that says so.
        model_requested: As the caller wrote it, or the default route's name.
        target: The target that made the images; with several, the one that made the last.
        fallback_index: That target's place in the route.
        latency_ms: From the request's arrival to now.
        cost_usd: None where unknown.
        cache: How the cache was used; None: it had no part in it.
    """

    id: str
    created: int
    images: tuple[FinishedImage, ...]
    model_requested: str
    target: Target
    deployment: str
    fallback_index: int
    attempts: tuple[Attempt, ...]
    latency_ms: int
    usage: Usage | None = None
    cost_usd: float | None = None
    quality: str = ""
    background: str = ""
    warnings: tuple[str, ...] = ()
    cache: CacheReport | None = None
    raw_request: Any = field(default=None, repr=False)
    raw_response: Any = field(default=None, repr=False)


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
