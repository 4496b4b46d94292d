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
class Outcome:
    """Everything that can be told about a request that succeeded.

    Attributes:
        images: By ascending index; fewer than asked for only with a warning that says so.
        model_requested: As the caller wrote it, or the default route's name.
        target: The target that made the images; with several, the one that made the last.
        fallback_index: That target's place in the route.
        latency_ms: From the request's arrival to now.
        cost_usd: None where unknown.
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


Event = AttemptStarted | AttemptFailed | FinishedImage
Emit = Callable[[Event], None]
"""Takes an event as it happens. Must not block or raise."""


def ignore(_: Event) -> None:
    """For callers who only want the outcome."""
