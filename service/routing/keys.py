"""Which of a provider's keys is used next. Knows the keys' names, never the keys."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from service.core.errors import ErrorKind, GatewayError

FIRST_REST_OF_A_REFUSED_KEY_S = 1.0
# Beyond this the number is larger than any longest rest, and the power must not overflow.
_MOST_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Key:
    """One key, by its configured name.

    Attributes:
        weight: Its share of the requests; weight 0 is used only when no other key can be.
        models: The models it may be used for. Empty: all.
    """

    name: str
    weight: float = 1.0
    models: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"the weight of key {self.name} must be a number of at least 0, not {self.weight}")


@dataclass(frozen=True, slots=True)
class Rest:
    """Why and until when (a monotonic instant, in seconds) a key is not used."""

    until: float
    reason: ErrorKind


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of one provider and those at rest. Immutable; ``now`` is a monotonic instant in seconds.

    ``rests`` is keyed by the key's name and the model that it rests for, or "" when it rests for all: rate limits
    and permissions are often a model's own, and must not take a key away from all others. ``refusals`` counts, by the
    same names, how often a key was refused in a row: each refusal makes the next rest twice as long.
    """

    keys: tuple[Key, ...]
    rests: Mapping[tuple[str, str], Rest] = field(default_factory=dict)
    refusals: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [key.name for key in self.keys]
        if len(set(names)) != len(names):
            raise ValueError("two keys have the same name")

    def choose(self, model: str, now: float, draw: float, avoid: Collection[str] = ()) -> Key:
        """A key for this model, at random by weight.

        Args:
            draw: Uniform in [0, 1).
            avoid: Names of keys that this request has tried already.

        Raises:
            GatewayError: RATE_LIMITED with the seconds until the first key is back, when a key only waits for
                its rate limit; otherwise UPSTREAM_AUTH: no key is for this model, or all of them were refused.
        """
        fit = [key for key in self.keys if not key.models or model in key.models]
        if not fit:
            raise _no_key(f"No key is configured for model {model}.")
        resting = {key.name: self._rest(key.name, model, now) for key in fit}
        free = [key for key in fit if key.name not in avoid and resting[key.name] is None]
        if free:
            return _drawn(free, draw)
        limited = [rest.until - now for rest in resting.values() if rest and rest.reason is ErrorKind.RATE_LIMITED]
        if limited:
            raise GatewayError(
                ErrorKind.RATE_LIMITED,
                "The provider has rate-limited every key.",
                retry_after_s=min(limited),
                may_have_run=False,
            )
        raise _no_key("The provider has refused every key.")

    def rested(self, name: str, until: float, reason: ErrorKind, now: float, model: str = "") -> KeyRing:
        """The ring with one key at rest, for one model or (empty) for all.

        A rest is never shortened: parallel requests report out of order. Rests that are over are forgotten.
        """
        current = {place: rest for place, rest in self.rests.items() if now < rest.until}
        earlier = current.get((name, model))
        refusals = self.refusals
        if name in {key.name for key in self.keys} and (earlier is None or earlier.until < until):
            current[name, model] = Rest(until, reason)
            if reason is ErrorKind.UPSTREAM_AUTH and (earlier is None or earlier.reason is not reason):
                # Requests that were under way together are refused together: that is one refusal.
                refusals = MappingProxyType({**refusals, (name, model): refusals.get((name, model), 0) + 1})
        return replace(self, rests=MappingProxyType(current), refusals=refusals)

    def refused_rest_s(self, name: str, model: str, longest_s: float) -> float:
        """Seconds that a key rests which was refused just now, for one model or (empty) for all.

        One refusal may be a slip of the provider's or a key that was made a moment ago, so the first rest is short;
        each further one in a row is twice as long, up to ``longest_s``.
        """
        doublings = min(self.refusals.get((name, model), 0), _MOST_DOUBLINGS)
        return min(longest_s, FIRST_REST_OF_A_REFUSED_KEY_S * 2.0**doublings)

    def worked(self, name: str, model: str) -> KeyRing:
        """The ring once a key was accepted for a model: its next refusal is a first one again."""
        places = {(name, ""), (name, model)}
        if not places & self.refusals.keys():
            return self
        left = {place: count for place, count in self.refusals.items() if place not in places}
        return replace(self, refusals=MappingProxyType(left))

    def renewed(self, name: str) -> KeyRing:
        """The ring once a key has another secret: what was found out about the earlier one is forgotten."""
        return replace(
            self,
            rests=MappingProxyType({place: rest for place, rest in self.rests.items() if place[0] != name}),
            refusals=MappingProxyType({place: count for place, count in self.refusals.items() if place[0] != name}),
        )

    def snapshot(self, now: float) -> Mapping[str, Mapping[str, Rest]]:
        """For each key's name its rests, by model ("" for all); empty when it can be used freely."""
        return {
            key.name: {
                model: rest for (name, model), rest in self.rests.items() if name == key.name and now < rest.until
            }
            for key in self.keys
        }

    def _rest(self, name: str, model: str, now: float) -> Rest | None:
        """The longest rest that keeps this key from this model, if any does."""
        rests = [rest for place in ((name, ""), (name, model)) if (rest := self.rests.get(place)) and now < rest.until]
        return max(rests, key=lambda rest: rest.until, default=None)


def _drawn(keys: list[Key], draw: float) -> Key:
    total = sum(key.weight for key in keys)
    if total == 0:
        return keys[min(int(draw * len(keys)), len(keys) - 1)]
    point = draw * total
    for key in keys:
        point -= key.weight
        if point < 0:
            return key
    # Rounding may leave the point at the very end.
    return next(key for key in reversed(keys) if key.weight > 0)


def _no_key(message: str) -> GatewayError:
    return GatewayError(ErrorKind.UPSTREAM_AUTH, message, code="no_usable_key", may_have_run=False)
