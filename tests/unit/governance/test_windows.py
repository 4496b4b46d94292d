"""The spans that budgets are counted over."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.governance.windows import Span, Window


def _at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("span", "start", "end"),
    [
        (Span.HOUR, "2026-11-22T21:00", "2026-11-22T22:00"),
        (Span.DAY, "2026-11-22T00:00", "2026-11-23T00:00"),
        # The 22nd is a Sunday: the last day of the ISO week.
        (Span.WEEK, "2026-11-16T00:00", "2026-11-23T00:00"),
        (Span.MONTH, "2026-11-01T00:00", "2026-12-01T00:00"),
    ],
)
def test_a_calendar_window_is_the_current_period_in_utc(span: Span, start: str, end: str) -> None:
    window, now = Window(span, aligned=True), _at("2026-11-22T21:39:58")
    assert window.current_slice(now) == window.first_slice(now) == _at(start)
    assert window.forgotten_at(window.current_slice(now)) == _at(end)


@pytest.mark.parametrize(("month", "next_month"), [("2026-12-01", "2027-01-01"), ("2028-02-01", "2028-03-01")])
def test_months_have_their_own_lengths(month: str, next_month: str) -> None:
    window = Window(Span.MONTH, aligned=True)
    assert window.forgotten_at(window.current_slice(_at(f"{month}T12:00"))) == _at(f"{next_month}T00:00")


_LENGTHS = {Span.HOUR: 3600, Span.DAY: 86_400, Span.WEEK: 604_800, Span.MONTH: 2_592_000}
_moments = st.floats(min_value=1e9, max_value=4e9)


@given(st.sampled_from(Span), _moments, st.floats(min_value=0, max_value=3e6))
def test_a_rolling_window_counts_a_moment_for_its_length_and_at_most_a_sixtieth_longer(
    span: Span, spent_at: float, later: float
) -> None:
    window, length = Window(span), _LENGTHS[span]
    spending = window.current_slice(spent_at)
    counts = spending >= window.first_slice(spent_at + later)
    if later < length:
        assert counts
    if later >= length * 61 / 60:
        assert not counts


@given(st.sampled_from(Span), st.booleans(), _moments)
def test_a_slice_counts_until_it_is_forgotten(span: Span, aligned: bool, now: float) -> None:
    window = Window(span, aligned)
    current = window.current_slice(now)
    forgotten_at = window.forgotten_at(current)
    assert current <= now < forgotten_at
    assert window.first_slice(forgotten_at - 1) <= current < window.first_slice(forgotten_at)
