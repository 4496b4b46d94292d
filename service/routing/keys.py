"""Which of a provider's keys is used next. Knows the keys' names, never the keys."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from service.core.errors import ErrorKind, GatewayError


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
    """The keys of one provider and those at rest. Immutable; ``now`` is a monotonic instant in seconds."""

    keys: tuple[Key, ...]
    rests: Mapping[str, Rest] = MappingProxyType({})

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
        free = [key for key in fit if key.name not in avoid and not self._rests(key, now)]
        if free:
            return _drawn(free, draw)
        limited = [
            self.rests[key.name].until - now
            for key in fit
            if self._rests(key, now) and self.rests[key.name].reason is ErrorKind.RATE_LIMITED
        ]
        if limited:
            raise GatewayError(
                ErrorKind.RATE_LIMITED,
                "The provider has rate-limited every key.",
                retry_after_s=min(limited),
                may_have_run=False,
            )
        raise _no_key("The provider has refused every key.")

    def rested(self, name: str, until: float, reason: ErrorKind) -> KeyRing:
        """The ring with one key at rest. A rest is never shortened: parallel requests report out of order."""
        current = self.rests.get(name)
        if name not in {key.name for key in self.keys} or (current is not None and current.until >= until):
            return self
        return replace(self, rests=MappingProxyType({**self.rests, name: Rest(until, reason)}))

    def snapshot(self, now: float) -> Mapping[str, Rest | None]:
        """For each key's name its rest, or None when it can be used."""
        return {key.name: self.rests[key.name] if self._rests(key, now) else None for key in self.keys}

    def _rests(self, key: Key, now: float) -> bool:
        rest = self.rests.get(key.name)
        return rest is not None and now < rest.until


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
