"""The one channel that tells what happens while a request is served.

Streams, response headers, log lines, metrics and traces listen here and nowhere else, so an event holds everything that
an observer needs. Events of one request come in the order in which things happen; ``RequestEnded`` is the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.core.calls import AttemptEnded
from service.core.errors import GatewayError
from service.core.values import Attempt, Target
from service.gateway.outcome import FinishedImage, Outcome
from service.governance.callers import CallerKind
from service.governance.rates import Standing


@dataclass(frozen=True, slots=True)
class LimitStanding:
    """The caller has a request limit, and stands with it like this. Told also when the request is refused for it."""

    standing: Standing


@dataclass(frozen=True, slots=True)
class CacheConsulted:
    """The cache was looked into.

    Attributes:
        target: The target that made the images that come next; None: it was a miss.
        fallback_index: That target's index in the route.
        hit_type: ``direct`` or ``semantic``; empty for a miss.
    """

    target: Target | None = None
    fallback_index: int = 0
    hit_type: str = ""


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """A target is being tried, with as many attempts as its keys and retries allow."""

    target: Target
    fallback_index: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """A target failed; ``next_target`` is tried now, None when there is none left.

    ``attempt`` is the one of its attempts that stands for the failure.
    """

    attempt: Attempt
    reason: str
    next_target: Target | None


@dataclass(frozen=True, slots=True)
class ImageCompleted:
    """One image is there as the caller gets it; ``target`` made it, now or when it came into the cache."""

    image: FinishedImage
    target: Target


@dataclass(frozen=True, slots=True)
class RequestEnded:
    """The request is over: with an outcome, with an error, or with neither where the caller went away.

    ``seconds`` is the time since the request reached the gateway.
    """

    seconds: float
    outcome: Outcome | None = None
    error: GatewayError | None = None


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call of the API is over, whatever it was for. Its request's events have come before.

    Attributes:
        method: The name of the gRPC method.
        code: The name of the gRPC status.
        caller: What kind of credential came with it.
        seconds: From its arrival to its answer.
        provider_seconds: The part of them in which a provider was at work, for variations.
        bytes_in: Bytes of a request for variations; 0 for other calls.
        bytes_out: Bytes of the answer to it.
        error: What it was answered with; None: with success, or not at all.
    """

    method: str
    code: str
    caller: CallerKind
    seconds: float
    provider_seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    error: GatewayError | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the caller got what was asked for."""
        return self.code == "OK"


VisibleEvent = AttemptStarted | AttemptFailed | ImageCompleted
"""An event that streams pass on to the caller."""

Event = VisibleEvent | AttemptEnded | CacheConsulted | LimitStanding | RequestEnded
Emit = Callable[[Event], None]
"""Takes an event as it happens. Must not block or raise."""


def both(first: Emit, second: Emit) -> Emit:
    """Emits to one listener, then to the other."""
    if first is ignore or second is ignore:
        return second if first is ignore else first

    def emit(event: Event) -> None:
        first(event)
        second(event)

    return emit


def ignore(_: Event) -> None:
    """For callers who only want the outcome."""
