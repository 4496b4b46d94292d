"""The record of a request while it is being served."""

from __future__ import annotations

from fake_backends import png

from service.core.calls import CallResult, ProducedImage
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Attempt, ImageFormat, Size, Target, Usage, VariationRequest
from service.gateway.backends.base import CallReport
from service.gateway.events import Event, ImageCompleted
from service.gateway.outcome import FinishedImage
from service.gateway.record import Record

LATE = GatewayError(ErrorKind.TIMEOUT, "Too late.")


async def finish(index: int, produced: ProducedImage) -> FinishedImage:
    return FinishedImage(index, Size(1, 1), ImageFormat.PNG, data=produced.data)


def record(events: list[Event] | None = None, **request: object) -> Record:
    told = [] if events is None else events
    return Record(VariationRequest(image=png(), **request), finish, told.append)  # type: ignore[arg-type]


async def test_the_remaining_request_is_for_what_is_missing() -> None:
    kept = record(n=4, seed=2**32 - 2)
    kept.begin(0, Target("a", "m"))
    assert kept.remaining is kept.request
    for index in (0, 2):
        await kept.keep(index, ProducedImage(data=b"x"))
    assert kept.missing == [1, 3]
    assert (kept.remaining.n, kept.remaining.seed) == (2, 2**32 - 1)
    assert kept.seed_of(3) == 1


async def test_images_belong_to_the_target_that_was_being_tried() -> None:
    events: list[Event] = []
    kept = record(events, n=2)
    assert kept.made_by is None
    kept.begin(0, Target("a", "m"))
    await kept.keep(0, ProducedImage(data=b"x"))
    kept.begin(1, Target("b", "m"))
    assert kept.made_by == (0, Target("a", "m"))
    assert [event.image.index for event in events if isinstance(event, ImageCompleted)] == [0]


def test_a_warning_is_kept_once() -> None:
    kept = record(warnings=("from the form",))
    kept.warn("dropped")
    kept.warn("dropped")
    assert kept.warnings == ["from the form", "dropped"]


def test_what_calls_came_to_adds_up() -> None:
    kept = record()
    kept.add(CallReport(CallResult((), usage=Usage(1, 2, 3), deployment="d1", warnings=("w",)), "q1", "r1"), 0.5)
    kept.add(CallReport(CallResult((), usage=Usage(1, 2, 3), quality="high")), 0.0)
    kept.add(CallReport(CallResult(())), 0.25)
    assert (kept.usage, kept.cost_usd) == (Usage(2, 4, 6), 0.75)
    assert (kept.deployment, kept.quality, kept.warnings) == ("d1", "high", ["w"])
    assert (kept.raw_request, kept.raw_response) == ("q1", "r1")


def test_a_failure_is_told_by_the_attempt_that_failed_so() -> None:
    kept = record()
    assert kept.failure(LATE, None) is None
    kept.attempts.append(Attempt("a", "m", "k", 1, "timeout"))
    kept.begin(0, Target("a", "m"))
    kept.attempts += [Attempt("a", "m", "k1", 2, "rate_limited", 429), Attempt("a", "m", "k2", 3, "success")]
    short = GatewayError(ErrorKind.BAD_RESPONSE, "Too few.")
    told = kept.failure(short, Target("b", "m"))
    assert told is not None
    assert (told.attempt.outcome, told.attempt.key, told.next_target) == ("bad_response", "", Target("b", "m"))
    limited = kept.failure(GatewayError(ErrorKind.RATE_LIMITED, "Slow down."), None)
    assert limited is not None
    assert limited.attempt == kept.attempts[1]


def test_what_time_stopped_ran_out_of_time() -> None:
    kept = record()
    kept.begin(0, Target("a", "m"))
    kept.attempts += [Attempt("a", "m", "k", 1, "success"), Attempt("a", "m", "k", 2, "cancelled")]
    kept.ran_out_of_time()
    assert kept.tried() == "a/m (success), a/m (deadline_exceeded)"


def test_a_target_that_recorded_nothing_ran_out_of_time_too() -> None:
    kept = record()
    kept.ran_out_of_time()
    assert kept.attempts == []
    kept.attempts.append(Attempt("a", "m", "k", 1, "cancelled"))
    kept.begin(1, Target("b", "m"))
    kept.ran_out_of_time()
    assert kept.tried() == "a/m (cancelled), b/m (deadline_exceeded)"


def test_a_list_of_attempts_says_each_thing_once() -> None:
    kept = record()
    kept.attempts += [Attempt("a", "m", key, 1, "rate_limited") for key in "xyz"]
    assert kept.tried() == "a/m (rate_limited)"
