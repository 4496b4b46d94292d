"""Access to the gateway: the sections ``keys``, ``teams`` and ``tokens``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, model_validator

from service.config.fields import Frozen, Number, Seconds, Secret, Settings, Whole, empty
from service.config.secret_files import read_secret
from service.governance.budgets import Budget
from service.governance.keys import KEY_PREFIX, CacheScope, Team, Token, VirtualKey, digest, parse_digest
from service.governance.rates import MOST, Counts, Rate
from service.governance.windows import Span, Window

SHORTEST_SECRET = 24
"""Characters that a key or token needs, so that nobody guesses it."""


_REDIS_SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+cluster",
    "rediss+cluster",
    "redis+sentinel",
    "rediss+sentinel",
)


def _state(value: SecretStr) -> SecretStr:
    scheme, separator, rest = value.get_secret_value().partition("://")
    if separator and (scheme not in _REDIS_SCHEMES or not rest):
        raise ValueError(
            "must be a file, or a URL that starts with redis://, rediss:// or unix://, or with redis+cluster:// or "
            "redis+sentinel://"
        )
    return value


StateLocation = Annotated[Secret, AfterValidator(_state)]


def _no_months(value: Any) -> Any:
    # Units are read in any case: 1M would be a minute here, and is a month in a budget.
    if isinstance(value, str) and value.strip().endswith("M"):
        raise ValueError("months are for budgets; write minutes as m and 30 days as 30d")
    return value


def _whole_seconds(value: float) -> float:
    if value != int(value):
        raise ValueError("must be whole seconds")
    return value


def _instant(value: Any) -> Any:
    if isinstance(value, datetime):
        return value
    try:
        text = str(value)
        if len(text) == len("2027-01-31"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a day such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Instant = Annotated[datetime, BeforeValidator(_instant)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Pattern = Annotated[str, Field(min_length=1, max_length=256)]


class BudgetSettings(Settings):
    """At most ``usd`` dollars in every window, rolling or (``aligned``) beginning with the hour, day, week or month."""

    usd: Annotated[Number, Field(gt=0, le=1_000_000)]
    window: Literal["1h", "1d", "1w", "1M"]
    aligned: bool = False

    @property
    def budget(self) -> Budget:
        """The budget as governance takes it."""
        return Budget(self.usd, Window(Span(self.window), self.aligned))


class RateLimitSettings(Settings):
    """At most so many requests, or so many images, in any window (seconds). Exactly one of the two is given."""

    requests: Annotated[Whole, Field(ge=1, le=MOST)] | None = None
    images: Annotated[Whole, Field(ge=1, le=MOST)] | None = None
    window: Annotated[
        Seconds, BeforeValidator(_no_months), Field(ge=1, le=366 * 86_400), AfterValidator(_whole_seconds)
    ]

    @model_validator(mode="after")
    def _one_of_two(self) -> RateLimitSettings:
        if (self.requests is None) == (self.images is None):
            raise ValueError("needs either requests or images")
        return self

    @property
    def rate(self) -> Rate:
        """The limit as governance takes it."""
        if self.requests is not None:
            return Rate(Counts.REQUESTS, self.requests, int(self.window))
        assert self.images is not None, "checked when it was made"
        return Rate(Counts.IMAGES, self.images, int(self.window))


class TeamSettings(Settings):
    """Limits that a group of keys shares, on top of each key's own."""

    budgets: tuple[BudgetSettings, ...] = ()
    rate_limits: tuple[RateLimitSettings, ...] = ()

    @model_validator(mode="after")
    def _sound(self) -> TeamSettings:
        self.team("")
        return self

    def team(self, name: str) -> Team:
        """The team as governance takes it."""
        return Team(name, tuple(each.budget for each in self.budgets), tuple(each.rate for each in self.rate_limits))


class _SecretSettings(Settings):
    """A name and a secret, given as it is, by the variable or file that holds it, or by its hash only."""

    name: Name
    value: Secret | None = None
    env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = ""
    file: str = ""
    hash: str = ""

    @model_validator(mode="before")
    @classmethod
    def _look_up(cls, values: Any, info: ValidationInfo) -> Any:
        if not isinstance(values, dict):
            return values
        if sum(bool(values.get(name)) for name in ("value", "env", "file", "hash")) != 1:
            raise ValueError("needs one of value, env (the variable that holds it), file (that holds it) and hash")
        file = values.get("file")
        if isinstance(file, str) and file:
            return {**values, "value": read_secret(file)}
        variable = values.get("env")
        if isinstance(variable, str) and variable:
            environment: Mapping[str, str] = (info.context or {}).get("environment", {})
            if not environment.get(variable, "").strip():
                raise ValueError(f"the environment variable {variable} is not set")
            return {**values, "value": environment[variable]}
        return values

    @model_validator(mode="after")
    def _hard_to_guess(self) -> _SecretSettings:
        if self.value is not None and len(self.value.get_secret_value()) < SHORTEST_SECRET:
            raise ValueError(f"the secret must have at least {SHORTEST_SECRET} characters")
        if self.hash:
            parse_digest(self.hash)
        return self

    @property
    def digest(self) -> bytes:
        """The hash of the secret: all that is needed of it."""
        return digest(self.value.get_secret_value()) if self.value else parse_digest(self.hash)


class TokenSettings(_SecretSettings):
    """A gateway token: a credential without limits."""

    @model_validator(mode="after")
    def _not_a_key(self) -> TokenSettings:
        if self.value is not None and self.value.get_secret_value().startswith(KEY_PREFIX):
            raise ValueError(f"what starts with {KEY_PREFIX} is a virtual key; put it under keys")
        return self

    @property
    def token(self) -> Token:
        """The token as governance takes it."""
        return Token(self.name, self.digest)


class VirtualKeySettings(_SecretSettings):
    """A virtual key. Empty lists mean: all.

    Attributes:
        expires: The first instant at which it is refused. None: never.
        provider_keys: Per provider, the names of those of its keys that this one may use.
        weights: Per provider, its share of the requests for a bare model or an alias.
    """

    enabled: bool = True
    expires: Instant | None = None
    team: str = ""
    providers: tuple[Pattern, ...] = ()
    models: tuple[Pattern, ...] = ()
    provider_keys: Frozen[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(default_factory=empty)
    weights: Frozen[str, Annotated[Number, Field(ge=0, le=1_000_000)]] = Field(default_factory=empty)
    budgets: tuple[BudgetSettings, ...] = ()
    rate_limits: tuple[RateLimitSettings, ...] = ()
    cache_scope: Literal["key", "team", "shared"] = "key"

    @model_validator(mode="after")
    def _sound(self) -> VirtualKeySettings:
        if self.value is not None and not self.value.get_secret_value().startswith(KEY_PREFIX):
            raise ValueError(f"a virtual key starts with {KEY_PREFIX}")
        _ = self.key
        return self

    @property
    def key(self) -> VirtualKey:
        """The key as governance takes it."""
        return VirtualKey(
            name=self.name,
            digest=self.digest,
            enabled=self.enabled,
            expires_at=self.expires,
            team=self.team,
            providers=self.providers,
            models=self.models,
            provider_keys=self.provider_keys,
            weights=self.weights,
            budgets=tuple(each.budget for each in self.budgets),
            rates=tuple(each.rate for each in self.rate_limits),
            cache_scope=CacheScope(self.cache_scope),
        )
