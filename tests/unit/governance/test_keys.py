"""The rights that a key grants."""

from __future__ import annotations

import fnmatch
from datetime import datetime
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.values import Target
from service.governance.budgets import Budget
from service.governance.keys import (
    Team,
    VirtualKey,
    accounts_of,
    digest,
    digest_text,
    new_secret,
    parse_digest,
    pattern_matches,
    rates_of,
)
from service.governance.rates import Counts, Rate
from service.governance.windows import Span, Window


def _key(**fields: object) -> VirtualKey:
    return VirtualKey("alice", digest("sk-bf-alice"), **fields)  # type: ignore[arg-type]


def test_secrets_are_long_new_and_never_shown() -> None:
    first, second = new_secret(), new_secret()
    assert first.startswith("sk-bf-")
    assert len(first) == 49
    assert first != second
    assert digest(first).hex() not in repr(VirtualKey("alice", digest(first)))


def test_a_digest_is_written_and_read() -> None:
    assert parse_digest(digest_text(digest("x"))) == digest("x")


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:00", "sha256:zz" + "0" * 62, "md5:" + "0" * 64, "0" * 64])
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_digest(text)


@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
def test_a_star_stands_for_anything(pattern: str, text: str) -> None:
    assert pattern_matches(pattern, text) == fnmatch.fnmatchcase(text, pattern)


@pytest.mark.parametrize("pattern", ["[a]", "?", "a.c"])
def test_nothing_but_the_star_is_special(pattern: str) -> None:
    assert pattern_matches(pattern, pattern)
    assert not pattern_matches(pattern, "a")
    assert not pattern_matches(pattern, "abc")


def test_a_key_without_lists_may_use_everything() -> None:
    assert _key().may_use(Target("openai", "gpt-image-2"))


@pytest.mark.parametrize(
    ("providers", "models", "allowed", "refused"),
    [
        (("openai",), (), "openai/gpt-image-2", "openai2/gpt-image-2"),
        (("open*",), (), "openai2/x", "gemini/x"),
        ((), ("gpt-image-2",), "azure/gpt-image-2", "azure/gpt-image-2-mini"),
        ((), ("openai/*",), "openai/gpt-image-2", "azure/gpt-image-2"),
        (("openai",), ("gpt-*",), "openai/gpt-image-2", "azure/gpt-image-2"),
        # A model may itself be called openai/...: naming a provider in the pattern means the provider.
        ((), ("openai/*",), "openai/x", "replicate/openai/gpt-image-2"),
        ((), ("fal/fal-ai/*",), "fal/fal-ai/flux/dev", "fal/other/flux"),
    ],
)
def test_both_lists_have_to_allow_a_target(
    providers: tuple[str, ...], models: tuple[str, ...], allowed: str, refused: str
) -> None:
    key = _key(providers=providers, models=models)
    assert key.may_use(Target(*allowed.split("/", 1)))
    assert not key.may_use(Target(*refused.split("/", 1)))


def test_a_key_answers_to_its_own_limits_and_its_teams() -> None:
    budget, rate = Budget(1, Window(Span.DAY)), Rate(Counts.REQUESTS, 1, 60)
    key = _key(team="pictures", budgets=(budget,), rates=(rate,))
    team = Team("pictures", budgets=(budget,), rates=(rate,))
    assert [account.owner for account in accounts_of(key, team)] == ["key:alice", "team:pictures"]
    assert [account.owner for account in rates_of(key, team)] == ["key:alice", "team:pictures"]
    assert [account.owner for account in accounts_of(key, None)] == ["key:alice"]


def test_what_would_be_counted_twice_is_refused() -> None:
    window = Window(Span.DAY)
    with pytest.raises(ValueError, match="two budgets"):
        _key(budgets=(Budget(1, window), Budget(2, window)))
    with pytest.raises(ValueError, match="two rate limits"):
        Team("pictures", rates=(Rate(Counts.IMAGES, 1, 60), Rate(Counts.IMAGES, 2, 60)))
    _key(budgets=(Budget(1, window), Budget(2, Window(Span.DAY, aligned=True))))


def test_an_expiry_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        _key(expires_at=datetime(2027, 1, 1))  # noqa: DTZ001 - the point of the test


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_is_a_number_of_at_least_zero(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        _key(weights=MappingProxyType({"openai": weight}))
