"""Money, and when there is room for more of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import ErrorKind
from service.governance.budgets import Account, Budget, exceeded, to_nanos, usd_text
from service.governance.windows import Span, Window

_CENT = 10_000_000
_ROLLING = Budget(0.10, Window(Span.HOUR))


def test_money_is_counted_in_nanos_and_nothing_that_costs_is_free() -> None:
    assert to_nanos(0.04) == 4 * _CENT
    assert to_nanos(0.1 + 0.2) == 30 * _CENT
    assert to_nanos(1e-12) == 0 + 1
    assert to_nanos(0.0) == 0


@pytest.mark.parametrize("usd", [-0.01, float("nan"), float("inf")])
def test_what_is_no_amount_is_refused(usd: float) -> None:
    with pytest.raises(ValueError, match="amount of money"):
        Budget(usd, Window(Span.DAY))


@given(st.integers(min_value=0, max_value=10**9))
def test_whole_cents_survive(cents: int) -> None:
    assert to_nanos(cents / 100) == cents * _CENT


@pytest.mark.parametrize(
    ("nanos", "text"), [(0, "$0.00"), (4 * _CENT, "$0.04"), (20_000, "$0.00002"), (150 * _CENT, "$1.50")]
)
def test_amounts_for_people(nanos: int, text: str) -> None:
    assert usd_text(nanos) == text


def test_an_account_is_named_without_its_amount() -> None:
    cheap, dear = Account("key:a", Budget(1, Window(Span.DAY))), Account("key:a", Budget(9, Window(Span.DAY)))
    assert cheap.name == dear.name
    assert cheap.name != Account("key:a", Budget(1, Window(Span.DAY, aligned=True))).name
    assert cheap.name != Account("team:a", Budget(1, Window(Span.DAY))).name


def test_there_is_room_once_enough_slices_are_forgotten() -> None:
    spent = {0: 6 * _CENT, 60: 3 * _CENT, 120: _CENT}
    assert _ROLLING.resets_at(spent, 1, now=130.0) == 3660.0
    assert _ROLLING.resets_at(spent, 7 * _CENT, now=130.0) == 3720.0
    assert _ROLLING.resets_at(spent, 10 * _CENT, now=130.0) == 3780.0
    assert _ROLLING.resets_at(spent, 11 * _CENT, now=130.0) is None


def test_slices_that_are_over_do_not_delay_the_reset() -> None:
    assert _ROLLING.resets_at({0: 10 * _CENT, 3000: 5 * _CENT}, 5 * _CENT, now=4000.0) == 4000.0


def test_the_refusal_says_how_much_when_and_for_whom() -> None:
    error = exceeded(Account("key:alice", _ROLLING), {0: 10 * _CENT}, 4 * _CENT, now=60.0)
    assert error.kind is ErrorKind.BUDGET_EXCEEDED
    assert error.retry_after_s == 3600.0
    for part in ("key 'alice'", "$0.10 per 1h", "$0.04", "1970-01-01T01:01:00Z"):
        assert part in error.message


def test_a_request_above_the_whole_budget_is_not_told_to_wait() -> None:
    error = exceeded(Account("team:pictures", _ROLLING), {}, 11 * _CENT, now=60.0)
    assert error.retry_after_s is None
    assert "more than the whole budget" in error.message
