"""The orders that depend on price, speed and load, by themselves and over ten thousand simulated requests."""

from __future__ import annotations

import contextlib
import heapq
import random
from statistics import fmean

from service.core.values import Target
from service.routing.ordering import Standings, cheapest, fastest, least_busy

A, B, C = (Target(name, "m") for name in "abc")
REQUESTS = 10_000


def never() -> float:
    return 0.99


def test_the_cheapest_goes_first_and_the_unknown_last() -> None:
    costs = {A: 0.04, B: None, C: 0.01}
    assert cheapest((A, B, C), costs.get) == (C, A, B)


def test_equal_costs_keep_the_order_in_which_they_were_written() -> None:
    assert cheapest((B, A, C), lambda _: 0.0) == (B, A, C)


def test_the_fastest_goes_first_and_who_was_never_tried_before_all() -> None:
    times = {A: 3.0, B: 1.0}
    assert fastest((A, B), times.get, never) == (B, A)
    assert fastest((A, B, C), times.get, never) == (C, B, A)


def test_now_and_then_another_is_given_a_chance() -> None:
    draws = iter((0.01, 0.9))
    assert fastest((A, B), {A: 1.0, B: 3.0}.get, lambda: next(draws)) == (B, A)


def test_the_least_busy_goes_first() -> None:
    assert least_busy((A, B, C), {A: 2, B: 0, C: 1}.__getitem__) == (B, C, A)


def test_a_median_follows_a_change_and_not_an_outlier() -> None:
    standings = Standings()
    assert standings.time_s(A) is None
    for seconds in (1.0, 1.0, 60.0, 1.0):
        standings.took(A, seconds)
    assert standings.time_s(A) == 1.0
    for _ in range(15):
        standings.took(A, 5.0)
    assert standings.time_s(A) == 5.0


def test_tries_that_end_in_whatever_way_are_under_way_no_more() -> None:
    standings = Standings()
    with standings.trying(A), standings.trying(A):
        assert standings.running(A) == 2
    with contextlib.suppress(RuntimeError), standings.trying(A):
        raise RuntimeError
    assert standings.running(A) == 0


class TestSimulation:
    """Ten thousand requests over three targets that fail, change and cost differently."""

    def test_cheapest_is_never_above_the_cheapest_healthy_target(self) -> None:
        chance = random.Random(1)
        for _ in range(REQUESTS):
            costs = {target: chance.choice((None, chance.uniform(0.003, 0.2))) for target in (A, B, C)}
            healthy = {target for target in (A, B, C) if chance.random() > 0.2}
            served_by = next((target for target in cheapest((A, B, C), costs.get) if target in healthy), None)
            known = [cost for target in healthy if (cost := costs[target]) is not None]
            if served_by is not None and known:
                assert costs[served_by] == min(known)

    def test_fastest_is_within_a_tenth_of_the_best_in_hindsight(self) -> None:
        chance, standings = random.Random(2), Standings()
        taken: list[float] = []
        best: list[float] = []
        for at in range(REQUESTS):
            # Once in the while the fastest becomes the slowest.
            usual = {A: 3.0, B: 4.0, C: 6.0} if at < REQUESTS / 2 else {A: 9.0, B: 4.0, C: 6.0}
            times = {target: mean * chance.lognormvariate(0, 0.3) for target, mean in usual.items()}
            chosen = fastest((A, B, C), standings.time_s, chance.random)[0]
            # A failure counts as long as its request had.
            standings.took(chosen, 30.0 if chance.random() < 0.02 else times[chosen])
            taken.append(times[chosen])
            best.append(times[min(usual, key=usual.__getitem__)])
        assert fmean(taken) < 1.1 * fmean(best)

    def test_every_request_goes_to_one_that_has_least_to_do(self) -> None:
        chance = random.Random(3)
        ends: list[tuple[float, int, Target]] = []
        running = dict.fromkeys((A, B, C), 0)
        for at in range(REQUESTS):
            while ends and ends[0][0] <= at:
                running[heapq.heappop(ends)[2]] -= 1
            chosen = least_busy((A, B, C), running.__getitem__)[0]
            assert running[chosen] == min(running.values())
            running[chosen] += 1
            heapq.heappush(ends, (at + chance.expovariate(1 / 20), at, chosen))
