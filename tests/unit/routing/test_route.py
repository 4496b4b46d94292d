"""Which target is next."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import ErrorKind, GatewayError
from service.core.values import Target
from service.routing.route import Exhausted, Route, RoutePolicy, Try, WeightedTarget, weighted_order
from service.routing.rules import RULES

A, B, C = Target("openai", "a"), Target("fal", "b"), Target("local", "c")


def error(kind, message="no", **details):
    return GatewayError(kind, message, **details)


def test_the_first_target_is_tried_first():
    assert Route((A, B)).next() == Try(A, 0)


def test_a_failure_that_another_target_may_not_share_leads_to_the_next():
    route = Route((A, B)).failed(error(ErrorKind.RATE_LIMITED))
    assert route.next() == Try(B, 1)


def test_failing_leaves_the_route_as_it_was():
    route = Route((A, B))
    route.failed(error(ErrorKind.TIMEOUT))
    assert route.next() == Try(A, 0)


class TestTurns:
    """The time that a target may take while others remain to be tried."""

    def test_each_target_has_its_share_of_what_is_left_and_the_last_all_of_it(self):
        route = Route((A, B, C), RoutePolicy(target_time_share=0.5))
        assert route.turn_ends(100.0, 140.0) == 120.0
        route = route.failed(error(ErrorKind.TIME_SHARE_USED))
        assert route.turn_ends(120.0, 140.0) == 130.0
        route = route.failed(error(ErrorKind.TIME_SHARE_USED))
        assert route.turn_ends(130.0, 140.0) == math.inf

    def test_no_time_is_kept_for_targets_that_cannot_be_asked(self):
        assert Route((A, B, C)).turn_ends(0.0, 10.0, {A}.__contains__) == math.inf
        assert Route((A, B, C)).turn_ends(0.0, 10.0, {C}.__contains__) == 7.0

    def test_a_share_of_one_keeps_nothing_back(self):
        assert Route((A, B), RoutePolicy(target_time_share=1.0)).turn_ends(0.0, 10.0) == 10.0

    def test_a_turn_never_ends_before_it_begins(self):
        assert Route((A, B)).turn_ends(10.0, 9.0) == 10.0

    def test_a_target_that_used_up_its_share_leads_to_the_next(self):
        assert Route((A, B)).failed(error(ErrorKind.TIME_SHARE_USED)).next() == Try(B, 1)

    @pytest.mark.parametrize("share", [0.0, -0.5, 1.1, math.nan])
    def test_a_share_that_is_none_is_refused(self, share):
        with pytest.raises(ValueError, match="target_time_share"):
            RoutePolicy(target_time_share=share)


class TestHints:
    """A failure that passes says when to come back, whoever it is from."""

    @pytest.mark.parametrize("kind", [ErrorKind.RATE_LIMITED, ErrorKind.UNAVAILABLE, ErrorKind.OUT_OF_RESOURCES])
    @pytest.mark.parametrize("targets", [(A,), (A, B)])
    def test_where_nobody_said_so(self, kind, targets):
        route = Route(targets)
        for _ in targets:
            route = route.failed(error(kind, may_have_run=False))
        assert route.next().error.retry_after_s == 1.0

    def test_but_not_where_it_may_be_billed(self):
        assert Route((A,)).failed(error(ErrorKind.UNAVAILABLE)).next().error.retry_after_s is None


@pytest.mark.parametrize("kind", [kind for kind in ErrorKind if not RULES[kind].next_target])
def test_a_failure_that_ends_the_route_is_the_answer_itself(kind):
    final = error(kind)
    assert Route((A, B)).failed(final).next() == Exhausted(final)


def test_a_deadline_that_has_passed_ends_the_route_since_no_target_has_time():
    final = error(ErrorKind.DEADLINE_EXCEEDED)
    assert Route((A, B)).failed(final).next() == Exhausted(final)


def test_refused_content_is_shown_to_the_next_target_only_where_the_operator_allows_it():
    refused = error(ErrorKind.CONTENT_REJECTED)
    assert Route((A, B)).failed(refused).next() == Exhausted(refused)
    assert Route((A, B), RoutePolicy(next_after_content_rejected=True)).failed(refused).next() == Try(B, 1)


def test_the_only_target_s_error_is_passed_on_as_it_is():
    final = error(ErrorKind.MODEL_GONE, upstream_status=410)
    assert Route((A,)).failed(final).next() == Exhausted(final)


def test_targets_that_all_fail_alike_give_that_kind_with_the_soonest_retry():
    route = Route((A, B))
    route = route.failed(error(ErrorKind.RATE_LIMITED, "slow down", retry_after_s=30.0, may_have_run=False))
    route = route.failed(error(ErrorKind.RATE_LIMITED, "too many", retry_after_s=5.0, may_have_run=False))
    final = route.next()
    assert isinstance(final, Exhausted)
    assert final.error.kind is ErrorKind.RATE_LIMITED
    assert final.error.retry_after_s == 5.0
    assert not final.error.may_have_run


def test_targets_that_fail_differently_give_unavailable_and_every_failure_is_listed():
    route = Route((A, B, C))
    for kind in (ErrorKind.RATE_LIMITED, ErrorKind.MODEL_GONE, ErrorKind.BAD_RESPONSE):
        route = route.failed(error(kind, f"because of {kind.value}"))
    final = route.next()
    assert isinstance(final, Exhausted)
    assert final.error.kind is ErrorKind.UNAVAILABLE
    for target, name in zip((A, B, C), ("rate_limited", "model_gone", "bad_response"), strict=True):
        assert f"{target} ({name}): because of {name}" in final.error.message
    assert final.error.may_have_run


def test_an_exhausted_route_cannot_fail_again():
    route = Route((A,)).failed(error(ErrorKind.TIMEOUT))
    with pytest.raises(ValueError, match="exhausted"):
        route.failed(error(ErrorKind.TIMEOUT))


def test_a_route_needs_a_target():
    with pytest.raises(ValueError, match="at least one"):
        Route(())


@given(kinds=st.lists(st.sampled_from(ErrorKind), max_size=8), count=st.integers(1, 5), lenient=st.booleans())
def test_every_route_ends_having_tried_each_target_once_in_order(kinds, count, lenient):
    targets = tuple(Target("p", str(number)) for number in range(count))
    route = Route(targets, RoutePolicy(lenient))
    tried: list[Target] = []
    failures = iter(kinds)
    while isinstance(step := route.next(), Try):
        assert step.index == len(tried)
        tried.append(step.target)
        route = route.failed(error(next(failures, ErrorKind.TIMEOUT)))
    assert tuple(tried) == targets[: len(tried)]
    assert step.error.kind in {failure.kind for failure in route.errors} | {ErrorKind.UNAVAILABLE}


def test_a_target_comes_first_as_often_as_its_weight_says():
    draw = random.Random(7).random
    weighted = [WeightedTarget(A, 3.0), WeightedTarget(B, 1.0)]
    first = Counter(weighted_order(weighted, draw)[0] for _ in range(4000))
    assert 0.72 < first[A] / 4000 < 0.78


def test_weight_zero_is_kept_for_when_all_others_have_failed():
    draw = random.Random(7).random
    weighted = [WeightedTarget(C, 0.0), WeightedTarget(A), WeightedTarget(B, 0.0)]
    assert {weighted_order(weighted, draw) for _ in range(50)} == {(A, C, B)}


@given(weights=st.lists(st.floats(0, 1e6), min_size=1, max_size=6), seed=st.integers())
def test_a_weighted_order_loses_no_target(weights, seed):
    weighted = [WeightedTarget(Target("p", str(at)), weight) for at, weight in enumerate(weights)]
    ordered = weighted_order(weighted, random.Random(seed).random)
    assert sorted(map(str, ordered)) == sorted(str(each.target) for each in weighted)


@pytest.mark.parametrize("draw", [0.0, 1 - 2**-53])
def test_the_ends_of_the_draw_s_range_are_fine(draw):
    assert len(weighted_order([WeightedTarget(A), WeightedTarget(B, 0.0)], lambda: draw)) == 2


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match="weight of openai/a"):
        WeightedTarget(A, weight)
