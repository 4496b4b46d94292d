"""A target that keeps failing is left alone for a while."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import ErrorKind, GatewayError
from service.core.values import Target
from service.routing.breaker import BreakerPolicy, Breakers, Circuit, CircuitState
from service.routing.rules import RULES

POLICY = BreakerPolicy(failures=3, open_s=10.0, probe_s=60.0)
TARGET = Target("openai", "a")
DOWN = GatewayError(ErrorKind.UNAVAILABLE, "down")


def opened_at(now):
    breakers = Breakers(POLICY)
    for _ in range(POLICY.failures):
        assert breakers.admit(TARGET, now) is None
        breakers.failed(TARGET, DOWN, now)
    return breakers


def test_failures_in_a_row_open_the_circuit():
    error = opened_at(100.0).admit(TARGET, 104.0)
    assert error is not None
    assert error.kind is ErrorKind.UNAVAILABLE
    assert error.retry_after_s == 6.0
    assert not error.may_have_run


def test_a_success_in_between_starts_the_count_again():
    breakers = Breakers(POLICY)
    for _ in range(5):
        for _ in range(POLICY.failures - 1):
            breakers.failed(TARGET, DOWN, 0.0)
        breakers.succeeded(TARGET)
    assert breakers.admit(TARGET, 0.0) is None


def test_other_targets_are_not_concerned():
    assert opened_at(0.0).admit(Target("openai", "b"), 1.0) is None


def test_when_the_time_is_up_one_probe_is_let_through():
    breakers = opened_at(0.0)
    assert breakers.admit(TARGET, 10.0) is None
    error = breakers.admit(TARGET, 10.1)
    assert error is not None
    assert error.retry_after_s == 1.0, "a probe that is out is usually back within moments"


def test_a_probe_that_succeeds_closes_the_circuit():
    breakers = opened_at(0.0)
    breakers.admit(TARGET, 10.0)
    breakers.succeeded(TARGET)
    assert breakers.state(TARGET, 10.0) is CircuitState.CLOSED
    assert [breakers.admit(TARGET, 10.0) for _ in range(3)] == [None] * 3


def test_a_probe_that_fails_opens_it_for_the_whole_time_again():
    breakers = opened_at(0.0)
    breakers.admit(TARGET, 10.0)
    breakers.failed(TARGET, DOWN, 12.0)
    assert breakers.admit(TARGET, 21.9) is not None
    assert breakers.admit(TARGET, 22.0) is None


@pytest.mark.parametrize("kind", [kind for kind in ErrorKind if not RULES[kind].breaker_counts])
def test_a_failure_that_is_not_the_target_s_fault_does_not_count_but_ends_the_probe(kind):
    breakers = opened_at(0.0)
    breakers.admit(TARGET, 10.0)
    breakers.failed(TARGET, GatewayError(kind, "no"), 11.0)
    assert breakers.state(TARGET, 11.0) is CircuitState.HALF_OPEN
    assert breakers.admit(TARGET, 11.0) is None


def test_an_impatient_caller_cannot_open_a_circuit():
    breakers = Breakers(POLICY)
    for _ in range(20):
        breakers.failed(TARGET, GatewayError(ErrorKind.DEADLINE_EXCEEDED, "late"), 0.0)
    assert breakers.admit(TARGET, 0.0) is None


def test_a_probe_that_never_reports_back_is_given_up():
    breakers = opened_at(0.0)
    breakers.admit(TARGET, 10.0)
    assert breakers.admit(TARGET, 69.9) is not None
    assert breakers.admit(TARGET, 70.0) is None


def test_failures_of_requests_let_through_earlier_do_not_keep_it_open_for_longer():
    breakers = opened_at(0.0)
    breakers.failed(TARGET, DOWN, 9.0)
    assert breakers.admit(TARGET, 10.0) is None


def test_names_from_callers_cannot_fill_the_memory():
    breakers = Breakers(POLICY, most=10)
    for number in range(1000):
        breakers.failed(Target("openai", str(number)), DOWN, 0.0)
    assert len(breakers) == 10


@given(
    steps=st.lists(st.tuples(st.sampled_from(["fail", "succeed", "neutral"]), st.floats(0, 30)), max_size=60),
    failures=st.integers(1, 4),
)
def test_a_circuit_is_never_shut_for_longer_than_its_time(steps, failures):
    policy = BreakerPolicy(failures=failures, open_s=10.0, probe_s=60.0)
    circuit, now = Circuit(), 0.0
    for step, passed in steps:
        now += passed
        admitted = circuit.admit(now, policy)
        if circuit.state(now, policy) is CircuitState.CLOSED:
            assert admitted is not None
        if admitted is not None:
            circuit = admitted
            match step:
                case "fail":
                    circuit = circuit.failed(now, policy)
                case "succeed":
                    circuit = circuit.succeeded()
                case "neutral":
                    circuit = circuit.undecided()
    assert circuit.admit(now + policy.open_s, policy) is not None
