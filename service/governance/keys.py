"""Virtual keys, teams and gateway tokens: what an operator grants to whom."""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from service.core.values import Target
from service.governance.budgets import Account, Budget
from service.governance.rates import Rate, RateAccount

KEY_PREFIX = "sk-bf-"
"""The prefix of every virtual key."""

DIGEST_PREFIX = "sha256:"
_SECRET_BYTES = 32


class CacheScope(StrEnum):
    """With whom a key shares cached results."""

    KEY = "key"
    TEAM = "team"
    SHARED = "shared"


def new_secret() -> str:
    """A virtual key that nobody can guess: 256 random bits behind the prefix."""
    return KEY_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def digest(secret: str) -> bytes:
    """The SHA-256 of a secret, stored in its place.

    Fast and unsalted on purpose: a slow hash protects secrets that can be guessed, and these have 256 random bits.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def digest_text(value: bytes) -> str:
    """A digest as it is written in files: ``sha256:`` and 64 hexadecimal digits."""
    return DIGEST_PREFIX + value.hex()


def parse_digest(text: str) -> bytes:
    """The inverse of ``digest_text``.

    Raises:
        ValueError: It is not a digest.
    """
    value = bytes.fromhex(text.removeprefix(DIGEST_PREFIX)) if text.startswith(DIGEST_PREFIX) else b""
    if len(value) != hashlib.sha256().digest_size:
        raise ValueError("must be sha256: and 64 hexadecimal digits")
    return value


def same(left: bytes, right: bytes) -> bool:
    """Whether two digests are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(left, right)


def pattern_matches(pattern: str, text: str) -> bool:
    """Whether ``text`` is ``pattern``, where each ``*`` stands for anything, slashes and nothing included."""
    first, *others = pattern.split("*")
    if not others:
        return pattern == text
    last = others.pop()
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    position, end = len(first), len(text) - len(last)
    for part in others:
        found = text.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


@dataclass(frozen=True, slots=True)
class Team:
    """A group of keys with budgets and rate limits of their own, on top of each key's."""

    name: str
    budgets: tuple[Budget, ...] = ()
    rates: tuple[Rate, ...] = ()

    def __post_init__(self) -> None:
        _check_limits(self.budgets, self.rates)


@dataclass(frozen=True, slots=True)
class VirtualKey:
    """The permissions of one caller. Holds the hash of the secret, never the secret.

    Attributes:
        digest: SHA-256 of the secret.
        expires_at: The first instant at which it is refused, with a time zone; None: never.
        team: The name of its team, or empty.
        providers: Patterns of provider names. Empty: all.
        models: Patterns with a slash are held against ``provider/model``, others against the model's name alone.
            Empty: all.
        provider_keys: Per provider, the names of the configured keys it may use. A provider that is not in it: all.
        weights: Per provider, its share of the requests for a bare model or an alias. Empty: as the gateway
            orders them; otherwise a provider that is not in it comes only once the others have failed.
    """

    name: str
    digest: bytes = field(repr=False)
    enabled: bool = True
    expires_at: datetime | None = None
    team: str = ""
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    provider_keys: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    weights: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    budgets: tuple[Budget, ...] = ()
    rates: tuple[Rate, ...] = ()
    cache_scope: CacheScope = CacheScope.KEY

    def __post_init__(self) -> None:
        if self.expires_at is not None and self.expires_at.tzinfo is None:
            raise ValueError("the expiry needs a time zone")
        if not all(math.isfinite(weight) and weight >= 0 for weight in self.weights.values()):
            raise ValueError("a weight must be a number of at least 0")
        _check_limits(self.budgets, self.rates)

    def may_use(self, target: Target) -> bool:
        """Whether requests with this key may go to ``target``."""
        if self.providers and not any(pattern_matches(pattern, target.provider) for pattern in self.providers):
            return False
        return not self.models or any(
            pattern_matches(pattern, str(target) if "/" in pattern else target.model) for pattern in self.models
        )


@dataclass(frozen=True, slots=True)
class Token:
    """A gateway token: lets its bearer in, without limits of its own."""

    name: str
    digest: bytes = field(repr=False)


def accounts_of(key: VirtualKey, team: Team | None) -> tuple[Account, ...]:
    """The budgets that all have to have room for a request with ``key``."""
    own = tuple(Account(f"key:{key.name}", budget) for budget in key.budgets)
    return own + (tuple(Account(f"team:{team.name}", budget) for budget in team.budgets) if team else ())


def rates_of(key: VirtualKey, team: Team | None) -> tuple[RateAccount, ...]:
    """The rate limits that a request with ``key`` has to be within."""
    own = tuple(RateAccount(f"key:{key.name}", rate) for rate in key.rates)
    return own + (tuple(RateAccount(f"team:{team.name}", rate) for rate in team.rates) if team else ())


def _check_limits(budgets: tuple[Budget, ...], rates: tuple[Rate, ...]) -> None:
    # Two of one kind would be charged twice under one name.
    if len({budget.window for budget in budgets}) < len(budgets):
        raise ValueError("two budgets have the same window")
    if len({(rate.counts, rate.window_s) for rate in rates}) < len(rates):
        raise ValueError("two rate limits have the same window")
