"""Counting in slices: never more than the limit in any span of the window, and forgotten at most a sixtieth late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.governance.rates import SLICES_PER_WINDOW, Counts, Rate, RateAccount
from service.governance.store import RateCharge

_WINDOWS_S = st.sampled_from([1, 7, 60, 3600, 86_400])


def _counted(slices: dict[int, int], charge: RateCharge) -> bool:
    """One charge as every store must make it."""
    units = {at: count for at, count in slices.items() if charge.first_slice <= at <= charge.last_slice}
    if sum(units.values()) + charge.units > charge.limit:
        return False
    slices[charge.current_slice] = slices.get(charge.current_slice, 0) + charge.units
    return True


@given(
    window_s=_WINDOWS_S,
    limit=st.integers(1, 20),
    # Pauses as shares of the window.
    requests=st.lists(st.tuples(st.floats(0, 1.2), st.integers(1, 5)), max_size=60),
)
def test_any_span_of_the_window_holds_at_most_the_limit(
    window_s: int, limit: int, requests: list[tuple[float, int]]
) -> None:
    account = RateAccount("key:a", Rate(Counts.IMAGES, limit, window_s))
    slices: dict[int, int] = {}
    let_in: list[tuple[float, int]] = []
    now = 1_795_000_000.0
    for pause, units in requests:
        now += pause * window_s
        # A model that remembers each unit for the whole window, and one for a sixtieth longer.
        exact = sum(count for at, count in let_in if at > now - window_s)
        late = sum(count for at, count in let_in if at > now - window_s * (1 + 1 / SLICES_PER_WINDOW) - 1e-6)
        if _counted(slices, RateCharge.at(account, units, now)):
            assert exact + units <= limit
            let_in.append((now, units))
        else:
            assert late + units > limit


@given(
    window_s=_WINDOWS_S,
    used=st.dictionaries(st.integers(0, SLICES_PER_WINDOW), st.integers(1, 5), min_size=1, max_size=8),
    cost=st.integers(1, 5),
    into=st.floats(0, 0.99),
)
def test_there_is_room_when_it_is_said_and_not_before(
    window_s: int, used: dict[int, int], cost: int, into: float
) -> None:
    rate = Rate(Counts.REQUESTS, max(cost, sum(used.values())), window_s)
    current = rate.current_slice(1_795_000_000.0)
    units = {current - ago: count for ago, count in used.items()}
    now = (current + into) * window_s / SLICES_PER_WINDOW
    room_at = rate.room_at(units, cost, now)
    step_s = window_s / SLICES_PER_WINDOW

    def fits(moment: float) -> bool:
        return _counted(dict(units), RateCharge.at(RateAccount("key:a", rate), cost, moment))

    assert fits(room_at + step_s / 1000)
    assert room_at == now or not fits(room_at - step_s / 1000)
