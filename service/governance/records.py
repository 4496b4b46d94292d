"""A virtual key as the text that stores keep, and back."""

from __future__ import annotations

import json
from datetime import datetime
from types import MappingProxyType
from typing import Any

from service.governance.budgets import Budget
from service.governance.keys import CacheScope, VirtualKey, digest_text, parse_digest
from service.governance.rates import Counts, Rate
from service.governance.windows import Span, Window


def dump(key: VirtualKey) -> str:
    """The key as JSON, but for whether it is enabled, which stores keep apart. Holds the secret's hash only."""
    return json.dumps(
        {
            "name": key.name,
            "digest": digest_text(key.digest),
            "expires_at": key.expires_at.isoformat() if key.expires_at else None,
            "team": key.team,
            "providers": key.providers,
            "models": key.models,
            "provider_keys": dict(key.provider_keys),
            "weights": dict(key.weights),
            "budgets": [[budget.usd, budget.window.span.value, budget.window.aligned] for budget in key.budgets],
            "rates": [[rate.counts.value, rate.amount, rate.window_s] for rate in key.rates],
            "cache_scope": key.cache_scope.value,
        }
    )


def parse(text: str, *, enabled: bool) -> VirtualKey:
    """The inverse of ``dump``.

    Raises:
        ValueError: The record is damaged, or of another version.
    """
    try:
        record: dict[str, Any] = json.loads(text)
        return VirtualKey(
            name=record["name"],
            digest=parse_digest(record["digest"]),
            enabled=enabled,
            expires_at=datetime.fromisoformat(record["expires_at"]) if record["expires_at"] else None,
            team=record["team"],
            providers=tuple(record["providers"]),
            models=tuple(record["models"]),
            provider_keys=MappingProxyType({name: tuple(keys) for name, keys in record["provider_keys"].items()}),
            weights=MappingProxyType(record["weights"]),
            budgets=tuple(Budget(usd, Window(Span(span), aligned)) for usd, span, aligned in record["budgets"]),
            rates=tuple(Rate(Counts(counts), amount, window_s) for counts, amount, window_s in record["rates"]),
            cache_scope=CacheScope(record["cache_scope"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not the record of a key: {error!r}") from None
