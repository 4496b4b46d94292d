"""Which target is next: a state machine over ordered targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from service.core.errors import ErrorKind, GatewayError
from service.core.values import Target
from service.routing.hints import with_retry_hint
from service.routing.rules import RULES


@dataclass(frozen=True, slots=True)
class RoutePolicy:
    """The operator's settings for a route.

    Attributes:
        next_after_content_rejected: Whether content that one provider refused is shown to the next.
        target_time_share: How much of the time left a target may use while others remain to be tried, above 0 and at
            most 1 (all of it). A target that hangs then leaves the next one time to answer in. What it was cut off
            from may be billed, so the share should leave a slow answer room.
    """

    next_after_content_rejected: bool = False
    target_time_share: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.target_time_share <= 1:
            raise ValueError(f"target_time_share must be above 0 and at most 1, not {self.target_time_share}")


@dataclass(frozen=True, slots=True)
class WeightedTarget:
    """A target and its share of the first tries. Weight 0: only once all others have failed."""

    target: Target
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"the weight of {self.target} must be a number of at least 0, not {self.weight}")


@dataclass(frozen=True, slots=True)
class Try:
    """Ask this target. ``index`` is its place in the route: 0 for the first choice, the fallback index otherwise."""

    target: Target
    index: int


@dataclass(frozen=True, slots=True)
class Exhausted:
    """No target is left to ask; ``error`` is the answer to the caller."""

    error: GatewayError


@dataclass(frozen=True, slots=True)
class Route:
    """The targets of one request, and how those asked so far failed. Immutable.

    Attributes:
        targets: In the order in which they are asked; at least one.
        errors: One error for each target that has failed.
    """

    targets: tuple[Target, ...]
    policy: RoutePolicy = RoutePolicy()
    errors: tuple[GatewayError, ...] = ()

    def __post_init__(self) -> None:
        if not self.targets:
            raise ValueError("a route needs at least one target")
        if len(self.errors) > len(self.targets):
            raise ValueError("more failures than targets")

    def next(self) -> Try | Exhausted:
        """The target to ask now, or the final error."""
        if self.errors and not self._goes_on_after(self.errors[-1]):
            return Exhausted(with_retry_hint(self.errors[-1]))
        index = len(self.errors)
        if index < len(self.targets):
            return Try(self.targets[index], index)
        return Exhausted(with_retry_hint(_final_error(self.targets, self.errors)))

    def turn_ends(self, now: float, deadline: float, usable: Callable[[Target], bool] = lambda _: True) -> float:
        """The instant at which the target that ``next`` names must have answered; infinite where none comes after it.

        Args:
            now, deadline: Instants of the same clock.
            usable: Whether a later target could be asked at all: no time is kept for one that has no key.
        """
        if not any(map(usable, self.targets[len(self.errors) + 1 :])):
            return math.inf
        return now + self.policy.target_time_share * max(0.0, deadline - now)

    def failed(self, error: GatewayError) -> Route:
        """The route after the target that ``next`` named has failed.

        Raises:
            ValueError: There was no such target: the route is exhausted.
        """
        if isinstance(self.next(), Exhausted):
            raise ValueError("the route is exhausted")
        return replace(self, errors=(*self.errors, error))

    def _goes_on_after(self, error: GatewayError) -> bool:
        if error.kind is ErrorKind.CONTENT_REJECTED:
            return self.policy.next_after_content_rejected
        return RULES[error.kind].next_target


def weighted_order(targets: Sequence[WeightedTarget], draw: Callable[[], float]) -> tuple[Target, ...]:
    """The targets in a random order in which each comes first with a probability proportional to its weight.

    Weighted sampling without replacement by sorting on log(u)/weight (Efraimidis and Spirakis, 2006).

    Args:
        draw: Returns numbers uniform in [0, 1), one for each target.
    """

    def rank(weighted: WeightedTarget) -> float:
        uniform = 1.0 - draw()  # In (0, 1], where the logarithm exists.
        return math.log(uniform) / weighted.weight if weighted.weight > 0 else -math.inf

    ranked = [(rank(weighted), weighted.target) for weighted in targets]
    # Stable, so targets of weight 0 keep the order in which they were configured.
    return tuple(target for _, target in sorted(ranked, key=lambda pair: pair[0], reverse=True))


def _final_error(targets: Sequence[Target], errors: Sequence[GatewayError]) -> GatewayError:
    """One error that stands for the failures of every target.

    All of one kind: that kind. Otherwise UNAVAILABLE, since no single reason would be true.
    """
    if len(errors) == 1:
        return errors[0]
    kinds = {error.kind for error in errors}
    codes = {error.code for error in errors}
    hints = [error.retry_after_s for error in errors if error.retry_after_s is not None]
    listed = "; ".join(
        f"{target} ({error.kind.value}): {error.message}" for target, error in zip(targets, errors, strict=True)
    )
    return GatewayError(
        kinds.pop() if len(kinds) == 1 else ErrorKind.UNAVAILABLE,
        f"All {len(errors)} targets failed. {listed}",
        code=codes.pop() if len(codes) == 1 else "",
        retry_after_s=min(hints, default=None),
        upstream_status=errors[-1].upstream_status,
        may_have_run=any(error.may_have_run for error in errors),
    )
