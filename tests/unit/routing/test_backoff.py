"""The wait before asking again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.routing.backoff import Backoff


def test_the_longest_wait_doubles_up_to_the_cap():
    backoff = Backoff(base_s=1.0, cap_s=5.0)
    assert [backoff.delay_s(retry, draw=0.5) for retry in range(5)] == [0.5, 1.0, 2.0, 2.5, 2.5]


@given(retry=st.integers(0, 100_000), draw=st.floats(0, 1, exclude_max=True))
def test_a_wait_is_never_negative_nor_above_the_cap(retry, draw):
    assert 0 <= Backoff(base_s=0.5, cap_s=20.0).delay_s(retry, draw) <= 20.0


def test_a_hint_wins_over_the_cap_and_over_chance():
    assert Backoff(base_s=1.0, cap_s=5.0).delay_s(0, draw=0.0, hint_s=42.0) == 42.0


def test_a_hint_that_has_passed_means_now():
    assert Backoff().delay_s(0, draw=0.9, hint_s=-3.0) == 0.0


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="base_s"):
        Backoff(base_s=wrong)
    with pytest.raises(ValueError, match="cap_s"):
        Backoff(cap_s=wrong)
