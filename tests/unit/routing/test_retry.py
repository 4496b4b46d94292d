"""Every transition of the retry machine, and what holds for all of them."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import ErrorKind, GatewayError
from service.routing.backoff import Backoff
from service.routing.keys import Key, KeyRing
from service.routing.retry import Again, DownloadState, GiveUp, KeyRest, Phase, Repeat, RetryPolicy, RetryState
from service.routing.rules import RULES, RetrySame

NOW = 1000.0
POLICY = RetryPolicy(backoff=Backoff(1.0, 20.0), max_retries=2, max_retry_wait_s=30.0, refused_key_rest_s=300.0)
ONE_KEY, TWO_KEYS = KeyRing((Key("main"),)), KeyRing((Key("main"), Key("spare")))

STARTING = RetryState(POLICY, "m", deadline=NOW + 600, began=NOW, key="main", tried=frozenset({"main"}))
STARTED = STARTING.was_answered()
ASKING = STARTED.asking(0.0, NOW)[0]
ASKED = ASKING.was_answered()
SITUATIONS = {"starting": STARTING, "started": STARTED, "asking": ASKING, "asked": ASKED}


def failure(
    kind: ErrorKind, *, ran: bool = False, hint: float | None = None, status: int | None = None
) -> GatewayError:
    return GatewayError(kind, "No.", may_have_run=ran, retry_after_s=hint, upstream_status=status)


def after(
    state: RetryState, error: GatewayError, keys: KeyRing | None = ONE_KEY, *, draw: float = 0.5, now: float = NOW
) -> Again | GiveUp:
    return state.after(error, now, draw=draw, keys=keys)


def expected(situation: str, kind: ErrorKind, *, ran: bool, other_key: bool) -> tuple[Repeat, str, bool] | None:
    """The decision by the table in the docstring of the module: repeat or not, another key or not, wait or not."""
    rule = RULES[kind]
    if situation == "asking" or (situation == "asked" and kind is ErrorKind.BAD_RESPONSE):
        return (Repeat.REQUEST, "main", True) if rule.retry_poll else None
    if rule.retry_same is RetrySame.NO or ran:
        return None
    repeat = Repeat.REQUEST if situation == "starting" else Repeat.CONVERSATION
    changes_keys = rule.retry_same in (RetrySame.OTHER_KEY, RetrySame.OTHER_KEY_OR_WAIT)
    if changes_keys and situation == "starting" and other_key:
        return repeat, "spare", False
    if rule.retry_same is RetrySame.OTHER_KEY:
        return None
    any_key = rule.retry_same is RetrySame.OTHER_KEY_OR_WAIT and situation == "starting"
    return repeat, "" if any_key else "main", True


@pytest.mark.parametrize("other_key", [False, True], ids=["one key", "another key"])
@pytest.mark.parametrize("ran", [False, True], ids=["surely did not run", "may have run"])
@pytest.mark.parametrize("kind", ErrorKind)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_failure_in_every_situation(situation: str, kind: ErrorKind, ran: bool, other_key: bool) -> None:
    error = failure(kind, ran=ran)
    decision = after(SITUATIONS[situation], error, TWO_KEYS if other_key else ONE_KEY)
    wanted = expected(situation, kind, ran=ran, other_key=other_key)
    if wanted is None:
        assert isinstance(decision, GiveUp)
        assert (decision.error.kind, decision.error.message) == (kind, "No.")
        return
    assert isinstance(decision, Again)
    assert (decision.repeat, decision.key, decision.wait > 0) == wanted
    # A question goes on with the attempt; a new start is a new attempt.
    assert decision.ends_attempt is not SITUATIONS[situation].asks_again_after(error)
    assert decision.state.key == decision.key


class TestStartingAgain:
    def test_what_may_have_run_is_started_again_only_if_it_is_free(self) -> None:
        error = failure(ErrorKind.UNAVAILABLE, ran=True)
        assert isinstance(after(STARTING, error), GiveUp)
        assert isinstance(after(dataclasses.replace(STARTING, free=True), error), Again)

    def test_waits_grow_and_are_counted(self) -> None:
        state, waits = STARTING, []
        while isinstance(decision := after(state, failure(ErrorKind.UNAVAILABLE)), Again):
            waits.append(decision.wait)
            state = decision.state
        assert waits == [0.5, 1.0]
        assert state.retries == POLICY.max_retries

    def test_trying_the_other_keys_is_not_counted(self) -> None:
        keys = KeyRing(tuple(Key(name) for name in "abcdef"))
        state, used = dataclasses.replace(STARTING, key="a", tried=frozenset("a")), ["a"]
        while isinstance(decision := after(state, failure(ErrorKind.UPSTREAM_AUTH), keys), Again):
            used.append(decision.key)
            state = decision.state
        assert sorted(used) == list("abcdef")
        assert state.retries == 0

    def test_a_limited_key_is_waited_for_by_whichever_key_is_back_first(self) -> None:
        resting = TWO_KEYS.rested("spare", NOW + 4.0, ErrorKind.RATE_LIMITED, NOW, "m")
        decision = after(STARTING, failure(ErrorKind.RATE_LIMITED, hint=9.0), resting)
        assert isinstance(decision, Again)
        assert decision.key == ""
        assert decision.wait == pytest.approx(4.0, abs=0.01)
        later = NOW + decision.wait
        assert decision.state.resumed(decision, later).keyed(resting, later, 0.9).key == "spare"

    @pytest.mark.parametrize(("hint", "waits"), [(30.0, True), (30.1, False)])
    def test_a_wait_longer_than_the_policy_s_is_left_to_others(self, hint: float, waits: bool) -> None:
        decision = after(STARTED, failure(ErrorKind.RATE_LIMITED, hint=hint))
        assert isinstance(decision, Again) is waits

    @pytest.mark.parametrize("bound", ["deadline", "turn_ends"])
    @pytest.mark.parametrize(("left", "waits"), [(5.1, True), (5.0, False)])
    def test_no_wait_uses_up_the_time(self, bound: str, left: float, waits: bool) -> None:
        state = dataclasses.replace(STARTED, **{bound: NOW + left})  # type: ignore[arg-type]  # both are instants
        assert isinstance(after(state, failure(ErrorKind.UNAVAILABLE, hint=5.0)), Again) is waits

    def test_each_start_is_an_attempt_with_a_time_of_its_own(self) -> None:
        decision = after(STARTED, failure(ErrorKind.UNAVAILABLE))
        assert isinstance(decision, Again)
        resumed = decision.state.resumed(decision, NOW + 7.0)
        assert (resumed.began, resumed.accepted, resumed.answered) == (NOW + 7.0, False, False)

    def test_a_second_step_of_accepted_work_stays_with_its_key(self) -> None:
        second = STARTED.starting()
        decision = after(second, failure(ErrorKind.RATE_LIMITED, hint=2.0), TWO_KEYS)
        assert isinstance(decision, Again)
        assert (decision.repeat, decision.key, decision.wait) == (Repeat.REQUEST, "main", 2.0)
        assert decision.state.accepted


class TestAskingAgain:
    def test_a_question_is_repeated_a_number_of_times_in_a_row(self) -> None:
        state, times = ASKING, 0
        while isinstance(decision := after(state, failure(ErrorKind.UNAVAILABLE, ran=True)), Again):
            state, times = decision.state, times + 1
        assert times == POLICY.max_poll_failures
        answered = state.was_answered().asking(0.0, NOW)[0]
        assert isinstance(after(answered, failure(ErrorKind.UNAVAILABLE, ran=True)), Again)

    def test_an_answer_that_makes_no_sense_is_like_none(self) -> None:
        decision = after(ASKED, failure(ErrorKind.BAD_RESPONSE, ran=True))
        assert isinstance(decision, Again)
        assert (decision.repeat, decision.key, decision.ends_attempt) == (Repeat.REQUEST, "main", False)
        assert decision.state.resumed(decision, NOW).accepted

    def test_garbled_and_missing_answers_share_one_count(self) -> None:
        state = ASKED
        for _ in range(POLICY.max_poll_failures):
            decision = after(state, failure(ErrorKind.BAD_RESPONSE, ran=True))
            assert isinstance(decision, Again)
            state = decision.state.resumed(decision, NOW).was_answered()
        assert isinstance(after(state, failure(ErrorKind.BAD_RESPONSE, ran=True)), GiveUp)

    def test_the_attempt_s_time_bounds_the_wait(self) -> None:
        late = NOW + POLICY.attempt_timeout_s - 1.0
        assert isinstance(after(ASKING, failure(ErrorKind.RATE_LIMITED, hint=1.0), now=late), GiveUp)
        assert isinstance(after(ASKING, failure(ErrorKind.RATE_LIMITED, hint=0.9), now=late), Again)

    def test_there_are_no_more_polls_than_allowed(self) -> None:
        state = dataclasses.replace(STARTED, policy=RetryPolicy(max_polls=2))
        for _ in range(2):
            state, wait = state.asking(3.0, NOW)
            assert wait == 3.0
        with pytest.raises(GatewayError) as caught:
            state.asking(3.0, NOW)
        assert caught.value.kind is ErrorKind.TIMEOUT

    def test_the_wait_before_a_poll_ends_with_the_time(self) -> None:
        assert dataclasses.replace(STARTED, deadline=NOW + 2.0).asking(5.0, NOW)[1] == 2.0
        assert dataclasses.replace(STARTED, deadline=NOW - 2.0).asking(5.0, NOW)[1] == 0.0


class TestKeysAtRest:
    @pytest.mark.parametrize(
        ("error", "rest"),
        [
            (failure(ErrorKind.UPSTREAM_AUTH, status=401), KeyRest("main", NOW + 1, ErrorKind.UPSTREAM_AUTH, "")),
            (failure(ErrorKind.UPSTREAM_AUTH, status=403), KeyRest("main", NOW + 1, ErrorKind.UPSTREAM_AUTH, "m")),
            (failure(ErrorKind.RATE_LIMITED, hint=7.0), KeyRest("main", NOW + 7, ErrorKind.RATE_LIMITED, "m")),
            (failure(ErrorKind.RATE_LIMITED), KeyRest("main", NOW + 0.5, ErrorKind.RATE_LIMITED, "m")),
            (failure(ErrorKind.UNAVAILABLE), None),
        ],
    )
    @pytest.mark.parametrize("situation", SITUATIONS)
    def test_a_refused_or_limited_key_is_left_alone(
        self, situation: str, error: GatewayError, rest: KeyRest | None
    ) -> None:
        assert after(SITUATIONS[situation], error).rest == rest

    def test_without_a_key_none_rests(self) -> None:
        state = dataclasses.replace(STARTING, key="", tried=frozenset())
        assert after(state, failure(ErrorKind.RATE_LIMITED), None).rest is None
        assert state.keyed(None, NOW, 0.5).key == ""

    def test_a_provider_none_of_whose_keys_may_be_used_is_not_asked_without_one(self) -> None:
        with pytest.raises(GatewayError):
            dataclasses.replace(STARTING, key="").keyed(KeyRing(()), NOW, 0.5)


class TestTime:
    @pytest.mark.parametrize(
        ("deadline", "turn_ends", "kind"),
        [
            (NOW + 10, NOW + 20, ErrorKind.DEADLINE_EXCEEDED),
            (NOW + 20, NOW + 10, ErrorKind.TIME_SHARE_USED),
            (NOW + 900, math.inf, ErrorKind.TIMEOUT),
        ],
    )
    def test_the_first_end_names_the_error(self, deadline: float, turn_ends: float, kind: ErrorKind) -> None:
        left = dataclasses.replace(STARTING, deadline=deadline, turn_ends=turn_ends).time_left(NOW)
        error = left.error(may_have_run=True)
        assert (error.kind, error.may_have_run) == (kind, True)
        assert left.seconds == min(deadline - NOW, turn_ends - NOW, POLICY.attempt_timeout_s)


class TestHints:
    @pytest.mark.parametrize("kind", [ErrorKind.RATE_LIMITED, ErrorKind.UNAVAILABLE, ErrorKind.OUT_OF_RESOURCES])
    def test_a_failure_that_passes_says_when_to_come_back(self, kind: ErrorKind) -> None:
        spent = dataclasses.replace(STARTED, retries=POLICY.max_retries)
        decision = after(spent, failure(kind))
        assert isinstance(decision, GiveUp)
        assert decision.error.retry_after_s == 4.0

    def test_the_provider_s_own_hint_is_kept(self) -> None:
        decision = after(STARTED, failure(ErrorKind.RATE_LIMITED, hint=77.0))
        assert isinstance(decision, GiveUp)
        assert decision.error.retry_after_s == 77.0

    def test_nobody_is_told_to_repeat_what_may_be_billed(self) -> None:
        decision = after(STARTED, failure(ErrorKind.UNAVAILABLE, ran=True))
        assert isinstance(decision, GiveUp)
        assert decision.error.retry_after_s is None


class TestDownloads:
    @pytest.mark.parametrize(("kind", "tries"), [(ErrorKind.UNAVAILABLE, 6), (ErrorKind.BAD_RESPONSE, 2)])
    def test_a_dead_link_is_tried_twice_and_a_busy_server_more_often(self, kind: ErrorKind, tries: int) -> None:
        state, done = DownloadState(POLICY, NOW + 600), 1
        while (again := state.after(failure(kind), NOW, draw=0.5)) is not None:
            state, done = again[0], done + 1
        assert done == tries

    def test_no_wait_uses_up_the_time(self) -> None:
        assert DownloadState(POLICY, NOW + 0.5).after(failure(ErrorKind.UNAVAILABLE), NOW, draw=0.5) is None


@given(
    events=st.lists(
        st.tuples(
            st.sampled_from(["fails", "answers", "polls", "starts"]),
            st.sampled_from(ErrorKind),
            st.booleans(),
            st.none() | st.floats(0, 100),
        ),
        max_size=60,
    ),
    keys=st.integers(1, 4),
    draw=st.floats(0, 0.999),
)
def test_whatever_happens_the_work_is_started_a_bounded_number_of_times(events, keys, draw) -> None:
    ring, now = KeyRing(tuple(Key(f"key-{number}") for number in range(keys))), NOW
    state = RetryState(POLICY, "m", deadline=NOW + 600, began=NOW).keyed(ring, now, draw)
    starts = 0
    for what, kind, ran, hint in events:
        if what == "answers":
            state = state.was_answered()
        elif what == "polls" and state.polls < POLICY.max_polls:
            state, wait = state.asking(1.0, now)
            now += wait
        elif what == "starts":
            state = state.starting()
        else:
            decision = state.after(failure(kind, ran=ran, hint=hint), now, draw=draw, keys=ring)
            if decision.rest is not None:
                rest = decision.rest
                ring = ring.rested(rest.name, rest.until, rest.reason, now, rest.model)
            if isinstance(decision, GiveUp):
                break
            assert 0 <= decision.wait < state.deadline - now
            starts += decision.ends_attempt
            assert not (ran and decision.ends_attempt)
            now += decision.wait
            state = decision.state.resumed(decision, now)
            try:
                state = state.keyed(ring, now, draw)
            except GatewayError:
                break
    assert starts <= keys + POLICY.max_retries


@pytest.mark.parametrize("name", ["attempt_timeout_s", "max_polls"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_a_policy_without_a_limit_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        RetryPolicy(**{name: value})  # type: ignore[arg-type]  # wrong values are the point


def test_the_situations_are_all_there_are() -> None:
    assert {(state.phase, state.answered) for state in SITUATIONS.values()} == set(
        itertools.product(Phase, (False, True))
    )
