"""Whole calls: over real sockets, with waits that take no time."""

import asyncio
import dataclasses
import gc

import pytest

from service.catalog.profile import Profile
from service.concurrency.tasks import started
from service.core.calls import CallResult, ImageProduced, ProducedImage
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Attempt
from service.providers.base import Credential
from service.providers.http import HttpRequest
from service.providers.wire import status_error
from service.transport.credentials import Credentials, WeightedCredential
from service.transport.upstream import ExchangeSettings

DONE = {"images": ["https://results.example/0.png"]}


@pytest.fixture
def done(behaviours):
    return behaviours.answer(200, DONE)


@pytest.fixture
def waiting(behaviours):
    """An answer that says: not yet, ask here."""

    def behave(server, **more):
        return behaviours.answer(200, {"wait": f"{server.url}/jobs/1", **more})

    return behave


# Success


async def test_a_call_returns_the_bytes_of_its_images_and_records_one_attempt(serve, upstream, runs, done, time):
    server = await serve(done)
    outcome = await runs(upstream(server.url))
    [image] = outcome.result.images
    assert (image.data, image.url) == (b"https://results.example/0.png", "")
    assert runs.attempts == [Attempt("vendor", "model-1", "main", 0, "success", 200)]
    assert outcome.raw_request is outcome.raw_response is None


async def test_the_key_and_the_operator_s_headers_are_sent(serve, upstream, runs, done):
    server = await serve(done)
    target = dataclasses.replace(upstream(server.url), headers={"X-Organization": "o-1"})
    await runs(target)
    [received] = server.received
    assert received.headers["authorization"] == "Bearer secret-of-main"
    assert received.headers["x-organization"] == "o-1"
    assert received.headers["content-type"] == "application/json"
    assert received.json == {"model": "model-1"}


async def test_a_provider_without_keys_is_asked_without_authorization(serve, upstream, runs, done):
    server = await serve(done)
    await runs(dataclasses.replace(upstream(server.url), credentials=Credentials([])))
    assert "authorization" not in server.received[0].headers
    assert runs.outcomes == [("", "success", 200)]


async def test_work_that_takes_time_is_polled_as_often_as_the_wire_format_says(
    serve, upstream, runs, behaviours, waiting, time
):
    server = await serve()
    server.behaviours[:] = [waiting(server), waiting(server), behaviours.answer(200, DONE)]
    await runs(upstream(server.url))
    assert [(each.method, each.path) for each in server.received] == [
        ("POST", "/jobs"),
        ("GET", "/jobs/1"),
        ("GET", "/jobs/1"),
    ]
    assert time.waits == [5.0, 5.0]
    assert [(each.outcome, each.latency_ms) for each in runs.attempts] == [("success", 10_000)]


async def test_what_was_said_is_captured_when_asked_for(serve, upstream, runs, done):
    server = await serve(done)
    outcome = await runs(upstream(server.url), raw=True)
    assert outcome.raw_request == {"model": "model-1"}
    assert outcome.raw_response == DONE


async def test_each_image_is_emitted_as_soon_as_it_is_there(serve, upstream, runs, behaviours):
    second_first = asyncio.Event()

    async def fetch(url):
        if url == "slow":
            await second_first.wait()
        return url.encode()

    emitted = []

    def emit(event):
        if isinstance(event, ImageProduced):
            emitted.append((event.position, event.image.data))
            second_first.set()

    runs.download = fetch
    server = await serve(behaviours.answer(200, {"images": ["slow", "fast"]}))
    outcome = await runs(upstream(server.url), emit=emit)
    assert emitted == [(1, b"fast"), (0, b"slow")]
    assert [image.data for image in outcome.result.images] == [b"slow", b"fast"]


# Failures that allow another try


async def test_a_provider_that_cannot_be_reached_is_tried_again_after_growing_waits(runs, upstream, refused_url, time):
    error = await runs.fails(upstream(refused_url, max_retries=3))
    assert error.kind is ErrorKind.UNAVAILABLE
    assert runs.outcomes == [("main", "unavailable", None)] * 4
    assert time.waits == [0.25, 0.5, 1.0]


async def test_a_rate_limit_is_waited_for_as_long_as_the_provider_says(serve, upstream, runs, behaviours, done, time):
    server = await serve(behaviours.answer(429, retry_after="7"), done)
    await runs(upstream(server.url))
    assert runs.outcomes == [("main", "rate_limited", 429), ("main", "success", 200)]
    assert time.waits == [pytest.approx(7, abs=0.01)]


async def test_a_rate_limit_moves_on_to_another_key_at_once(serve, upstream, runs, behaviours, done, time):
    server = await serve(behaviours.answer(429, retry_after="7"), done)
    target = upstream(server.url, "main", "spare")
    time.draw = 0.1
    await runs(target)
    assert runs.outcomes == [("main", "rate_limited", 429), ("spare", "success", 200)]
    assert time.waits == []
    rest = target.credentials.snapshot(time.now())["main"]["model-1"]
    assert (rest.until - time.now(), rest.reason) == (7.0, ErrorKind.RATE_LIMITED)


async def test_a_limit_without_a_wait_still_moves_on_to_each_key_once(serve, upstream, runs, behaviours, time):
    server = await serve(behaviours.answer(429, retry_after="0"))
    await runs.fails(upstream(server.url, "main", "spare", max_retries=1))
    assert [each.key for each in runs.attempts[:2]] in (["main", "spare"], ["spare", "main"])
    assert len(server.received) == 3


async def test_each_attempt_has_a_time_of_its_own(serve, upstream, runs, behaviours, waiting, done, time):
    server = await serve()
    server.behaviours[:] = [behaviours.answer(429, retry_after="8"), waiting(server), done]
    await runs(upstream(server.url, attempt_timeout_s=10.0))
    assert [(each.outcome, each.latency_ms) for each in runs.attempts] == [("rate_limited", 0), ("success", 5000)]


async def test_work_in_several_steps_stays_with_one_key_once_the_first_is_taken_on(
    serve, upstream, runs, behaviours, done, time
):
    class Uploading:
        """A vendor that takes the image first and the order for variations after it."""

        def vary(self, call, profile, endpoint):
            yield HttpRequest("POST", f"{endpoint.base_url}/files")
            yield HttpRequest("POST", f"{endpoint.base_url}/jobs")
            return CallResult((ProducedImage(b"image"),))

        def authorization(self, request, credential, endpoint, now):
            return {"Authorization": credential.secret}

        def failure(self, response):
            return status_error(response, "")

    server = await serve(done, behaviours.answer(429, retry_after="2"), done)
    target = dataclasses.replace(upstream(server.url, "main", "spare"), translator=Uploading())
    await runs(target)
    assert [each.path for each in server.received] == ["/files", "/jobs", "/jobs"]
    assert len({each.headers["authorization"] for each in server.received}) == 1
    assert time.waits == [2.0]


async def test_a_key_at_rest_is_not_used_by_the_next_call(serve, upstream, runs, behaviours, done, time):
    server = await serve(behaviours.answer(429, retry_after="7"), done)
    target = upstream(server.url, "main", "spare")
    time.draw = 0.1
    await runs(target)
    await runs(target)
    assert [each.headers["authorization"] for each in server.received[1:]] == ["Bearer secret-of-spare"] * 2


async def test_when_all_keys_are_limited_the_first_that_is_back_is_used(serve, upstream, runs, behaviours, done, time):
    server = await serve(behaviours.answer(429, retry_after="3"), behaviours.answer(429, retry_after="20"), done)
    time.draw = 0.1
    await runs(upstream(server.url, "main", "spare"))
    assert runs.outcomes == [
        ("main", "rate_limited", 429),
        ("spare", "rate_limited", 429),
        ("main", "success", 200),
    ]
    assert time.waits == [pytest.approx(3, abs=0.01)]


async def test_a_call_that_finds_all_keys_at_rest_waits_for_one(serve, upstream, runs, done, time):
    server = await serve(done)
    target = upstream(server.url)
    now = time.now()
    target.credentials.rest("main", now + 4.0, ErrorKind.RATE_LIMITED, now)
    await runs(target)
    assert runs.outcomes == [("", "rate_limited", None), ("main", "success", 200)]
    assert time.waits == [pytest.approx(4, abs=0.01)]


@pytest.mark.parametrize("hint", ["31", "500"])
async def test_a_wait_that_is_too_long_is_left_to_the_next_target(serve, upstream, runs, behaviours, hint, time):
    server = await serve(behaviours.answer(429, retry_after=hint))
    error = await runs.fails(upstream(server.url))
    assert (error.kind, error.retry_after_s) == (ErrorKind.RATE_LIMITED, float(hint))
    assert time.waits == []


async def test_no_wait_outlasts_the_deadline(serve, upstream, runs, behaviours, time):
    server = await serve(behaviours.answer(429, retry_after="7"))
    error = await runs.fails(upstream(server.url), seconds=7.0)
    assert error.kind is ErrorKind.RATE_LIMITED
    assert time.waits == []


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refused_key_is_benched_and_another_one_tried(serve, upstream, runs, behaviours, done, status, time):
    server = await serve(behaviours.answer(status), done)
    target = upstream(server.url, "main", "spare", refused_key_rest_s=60.0)
    time.draw = 0.1
    await runs(target)
    assert runs.outcomes == [("main", "upstream_auth", status), ("spare", "success", 200)]
    # A 403 may be about this model only.
    rests = target.credentials.snapshot(time.now())["main"]
    assert {model: rest.until - time.now() for model, rest in rests.items()} == {
        "model-1" if status == 403 else "": 1.0
    }


async def test_a_single_key_that_was_refused_is_tried_again_soon_and_then_ever_later(
    serve, upstream, runs, behaviours, done, time
):
    refused = behaviours.answer(401)
    server = await serve(refused, refused, refused, refused, done, refused)
    target = upstream(server.url, "main", refused_key_rest_s=3.0)
    for rest_s in (1.0, 2.0, 3.0, 3.0):
        assert (await runs.fails(target)).kind is ErrorKind.UPSTREAM_AUTH
        asked = len(server.received)
        assert (await runs.fails(target)).kind is ErrorKind.UPSTREAM_AUTH
        assert len(server.received) == asked, "a key at rest was used"
        assert target.credentials.snapshot(time.now())["main"][""].until - time.now() == pytest.approx(rest_s)
        await time.sleep(rest_s)
    await runs(target)
    await runs.fails(target)
    assert target.credentials.snapshot(time.now())["main"][""].until - time.now() == pytest.approx(1.0)


async def test_when_all_keys_are_refused_the_error_is_about_our_credentials(serve, upstream, runs, behaviours, time):
    server = await serve(behaviours.answer(401))
    target = upstream(server.url, "main", "spare")
    assert (await runs.fails(target)).kind is ErrorKind.UPSTREAM_AUTH
    assert len(server.received) == 2
    assert (await runs.fails(target)).kind is ErrorKind.UPSTREAM_AUTH
    assert len(server.received) == 2
    assert time.waits == []


async def test_a_key_that_no_header_can_carry_is_benched_and_never_quoted(serve, upstream, runs, done, time):
    server = await serve(done)
    broken = Credentials(
        [
            WeightedCredential(Credential("broken", "sk-1\r\nX-Injected: 1")),
            WeightedCredential(Credential("good", "sk-2")),
        ]
    )
    time.draw = 0.1
    await runs(dataclasses.replace(upstream(server.url), credentials=broken))
    assert runs.outcomes == [("broken", "upstream_auth", None), ("good", "success", 200)]
    assert "x-injected" not in server.received[0].headers


async def test_a_key_of_the_caller_s_own_serves_that_call_alone(serve, upstream, runs, behaviours):
    server = await serve(behaviours.answer(401))
    target = upstream(server.url, "main")
    own = Credentials.only(Credential("caller", "sk-callers-own"))
    await runs.fails(dataclasses.replace(target, credentials=own))
    assert [each.headers["authorization"] for each in server.received] == ["Bearer sk-callers-own"]
    assert target.credentials.snapshot(0.0) == {"main": {}}
    assert "sk-callers-own" not in repr(own)


async def test_work_that_failed_unbilled_is_started_again(serve, upstream, runs, behaviours, done):
    server = await serve(behaviours.answer(200, {"failed": True}), done)
    await runs(upstream(server.url))
    assert [each.outcome for each in runs.attempts] == ["unavailable", "success"]


# Failures that do not


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_work_that_may_have_been_done_is_not_paid_for_twice(serve, upstream, runs, behaviours, status, time):
    server = await serve(behaviours.answer(status, retry_after="1"))
    error = await runs.fails(upstream(server.url, "main", "spare"))
    assert (error.kind, error.may_have_run) == (ErrorKind.UNAVAILABLE, True)
    assert len(server.received) == 1
    assert time.waits == []


async def test_a_connection_that_breaks_after_sending_is_not_paid_for_twice(serve, upstream, runs, behaviours):
    server = await serve(behaviours.raw(b"", then_reset=True))
    assert (await runs.fails(upstream(server.url))).may_have_run
    assert len(server.received) == 1


async def test_what_costs_nothing_may_be_repeated_although_it_may_have_run(serve, upstream, runs, behaviours, done):
    server = await serve(behaviours.answer(500), behaviours.raw(b"", then_reset=True), done)
    runs.profile = Profile(free=True)
    await runs(upstream(server.url))
    assert len(server.received) == 3


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ErrorKind.UNSUPPORTED),
        (404, ErrorKind.MODEL_GONE),
        (410, ErrorKind.MODEL_GONE),
        (504, ErrorKind.TIMEOUT),
        (302, ErrorKind.BAD_RESPONSE),
    ],
)
async def test_a_failure_that_would_only_repeat_itself_is_not_retried(
    serve, upstream, runs, behaviours, status, kind, time
):
    server = await serve(behaviours.answer(status))
    error = await runs.fails(upstream(server.url, "main", "spare"))
    assert (error.kind, error.upstream_status) == (kind, status)
    assert len(server.received) == 1


async def test_a_refusal_inside_a_200_is_not_retried(serve, upstream, runs, behaviours):
    server = await serve(behaviours.answer(200, {"refused": "violence"}))
    error = await runs.fails(upstream(server.url, "main", "spare"))
    assert (error.kind, error.message) == (ErrorKind.CONTENT_REJECTED, "violence")
    assert len(server.received) == 1


async def test_attempts_tell_the_status_of_the_answer_that_they_failed_by(serve, upstream, runs, behaviours, time):
    server = await serve(behaviours.answer(429, retry_after="1"), behaviours.answer(200, {"images": []}))
    await runs.fails(upstream(server.url))
    assert [(each.outcome, each.status) for each in runs.attempts] == [("rate_limited", 429), ("bad_response", 200)]


async def test_a_bug_in_a_translator_is_an_internal_error(serve, upstream, runs, behaviours):
    server = await serve(behaviours.answer(200, {"unexpected": 1}))
    error = await runs.fails(upstream(server.url))
    assert error.kind is ErrorKind.INTERNAL
    assert isinstance(error.__cause__, KeyError)
    assert "images" not in error.message


async def test_an_answer_without_images_cannot_be_used(serve, upstream, runs, behaviours):
    server = await serve(behaviours.answer(200, {"images": []}))
    assert (await runs.fails(upstream(server.url))).kind is ErrorKind.BAD_RESPONSE


# Time


async def test_a_provider_that_hangs_times_out_by_its_own_limit(serve, upstream, runs, behaviours):
    server = await serve(behaviours.hang)
    error = await runs.fails(upstream(server.url, attempt_timeout_s=0.2))
    assert (error.kind, error.code, error.may_have_run) == (ErrorKind.TIMEOUT, "", True)
    assert len(server.received) <= 1


async def test_the_caller_s_deadline_is_told_apart_from_the_provider_s_fault(serve, upstream, runs, behaviours):
    server = await serve(behaviours.hang)
    error = await runs.fails(upstream(server.url), seconds=0.2)
    assert (error.kind, error.may_have_run) == (ErrorKind.DEADLINE_EXCEEDED, True)


async def test_nothing_is_sent_once_the_deadline_has_passed(serve, upstream, runs, done):
    server = await serve(done)
    error = await runs.fails(upstream(server.url), seconds=0.0)
    assert (error.kind, error.may_have_run) == (ErrorKind.DEADLINE_EXCEEDED, False)
    assert server.received == []


async def test_polling_ends_with_the_attempt_s_time(serve, upstream, runs, waiting, time):
    server = await serve()
    server.behaviours[:] = [waiting(server)]
    error = await runs.fails(upstream(server.url, attempt_timeout_s=12.0))
    assert (error.kind, error.code, error.may_have_run) == (ErrorKind.TIMEOUT, "", True)
    assert time.waits == [5.0, 5.0, 2.0]


async def test_polling_ends_with_the_deadline(serve, upstream, runs, waiting, time):
    server = await serve()
    server.behaviours[:] = [waiting(server)]
    error = await runs.fails(upstream(server.url), seconds=7.0)
    assert error.kind is ErrorKind.DEADLINE_EXCEEDED
    assert time.waits == [5.0, 2.0]


async def test_polling_ends_after_a_number_of_polls(serve, upstream, runs, waiting):
    server = await serve()
    server.behaviours[:] = [waiting(server)]
    error = await runs.fails(upstream(server.url, max_polls=3))
    assert error.kind is ErrorKind.TIMEOUT
    assert len(server.received) == 1 + 3


async def test_a_target_s_share_of_the_time_ends_without_blame(serve, upstream, runs, behaviours, time):
    server = await serve(behaviours.hang)
    error = await runs.fails(upstream(server.url), turn_ends=time.now() + 0.2)
    assert (error.kind, error.may_have_run) == (ErrorKind.TIME_SHARE_USED, True)


async def test_work_left_because_the_share_of_the_time_is_used_up_is_stopped(
    serve, upstream, runs, behaviours, waiting, time
):
    server = await serve()
    again = waiting(server, cancel=f"{server.url}/jobs/1/cancel")
    server.behaviours[:] = [again, again, behaviours.answer(200)]
    error = await runs.fails(upstream(server.url), turn_ends=time.now() + 7.0)
    await runs.executor.aclose()
    assert error.kind is ErrorKind.TIME_SHARE_USED
    assert server.received[-1].path == "/jobs/1/cancel"


# Polls


async def test_a_poll_that_fails_is_repeated_since_asking_costs_nothing(
    serve, upstream, runs, behaviours, waiting, done, time
):
    server = await serve()
    server.behaviours[:] = [
        waiting(server),
        behaviours.answer(503),
        behaviours.answer(429, retry_after="2"),
        behaviours.raw(b"", then_reset=True),
        behaviours.raw(b"garbage\r\n\r\n"),
        done,
    ]
    await runs(upstream(server.url))
    assert [each.method for each in server.received] == ["POST", "GET", "GET", "GET", "GET", "GET"]
    assert [each.outcome for each in runs.attempts] == ["success"]
    assert time.waits == [5.0, 0.25, 2.0, 1.0, 2.0]


async def test_a_poll_that_hangs_is_repeated(serve, upstream, runs, behaviours, waiting, done):
    server = await serve()
    server.behaviours[:] = [waiting(server), behaviours.hang, done]
    await runs(upstream(server.url, poll_timeout_s=0.2))
    assert len(server.received) >= 3
    assert [each.outcome for each in runs.attempts] == ["success"]


async def test_a_poll_that_keeps_failing_is_given_up(serve, upstream, runs, behaviours, waiting):
    server = await serve()
    server.behaviours[:] = [waiting(server), behaviours.answer(503)]
    error = await runs.fails(upstream(server.url, max_poll_failures=2))
    assert error.kind is ErrorKind.UNAVAILABLE
    assert len(server.received) == 1 + 3


@pytest.mark.parametrize("status", [401, 404])
async def test_a_poll_that_is_refused_is_given_up_at_once(serve, upstream, runs, behaviours, waiting, status):
    server = await serve()
    server.behaviours[:] = [waiting(server), behaviours.answer(status)]
    await runs.fails(upstream(server.url, "main", "spare"))
    assert len(server.received) == 2


async def test_polls_stay_with_the_key_that_started_the_work(serve, upstream, runs, behaviours, waiting, done, time):
    server = await serve()
    server.behaviours[:] = [waiting(server), behaviours.answer(429, retry_after="1"), done]
    await runs(upstream(server.url, "main", "spare"))
    assert len({each.headers["authorization"] for each in server.received}) == 1


async def test_a_poll_url_elsewhere_gets_no_request_and_no_key(serve, upstream, runs, behaviours, time):
    elsewhere = await serve(behaviours.answer(200, DONE))
    server = await serve(behaviours.answer(200, {"wait": f"{elsewhere.url}/steal"}))
    error = await runs.fails(upstream(server.url))
    assert error.kind is ErrorKind.BAD_RESPONSE
    assert elsewhere.received == []
    assert len(server.received) == 1
    assert time.waits == []


GARBLED = [b"", b"null", b"[]", b"<html>busy</html>", b'{"wait', b'{"images": "', b"\xff\xfe\x00"]


@pytest.mark.parametrize("body", GARBLED)
async def test_an_answer_to_a_poll_that_makes_no_sense_is_asked_for_again(
    serve, upstream, runs, behaviours, waiting, done, time, body
):
    server = await serve()
    server.behaviours[:] = [waiting(server), behaviours.answer(200, body), waiting(server), done]
    await runs(upstream(server.url, "main", "spare"))
    assert [each.method for each in server.received] == ["POST", "GET", "GET", "GET"]
    assert len({each.headers["authorization"] for each in server.received}) == 1
    assert [each.outcome for each in runs.attempts] == ["success"]
    # The second time only the backoff is waited for: the wire format's own wait is over.
    assert time.waits == [5.0, 0.25, 5.0]


async def test_answers_to_polls_that_keep_making_no_sense_are_given_up_and_the_work_is_stopped(
    serve, upstream, runs, behaviours, waiting
):
    server = await serve()
    server.behaviours[:] = [
        waiting(server, cancel=f"{server.url}/jobs/1/cancel"),
        *[behaviours.answer(200, b"<html>")] * 3,
        behaviours.answer(200),
    ]
    error = await runs.fails(upstream(server.url, max_poll_failures=2))
    await runs.executor.aclose()
    assert (error.kind, error.may_have_run) == (ErrorKind.BAD_RESPONSE, True)
    assert [(each.method, each.path) for each in server.received] == [
        ("POST", "/jobs"),
        *[("GET", "/jobs/1")] * 3,
        ("PUT", "/jobs/1/cancel"),
    ]


async def test_an_answer_to_the_start_of_work_that_makes_no_sense_is_not_asked_for_again(
    serve, upstream, runs, behaviours
):
    server = await serve(behaviours.answer(200, b"<html>"))
    assert (await runs.fails(upstream(server.url))).may_have_run
    assert len(server.received) == 1


# Going away


async def test_cancelling_a_call_stops_the_work_at_the_provider(serve, upstream, runs, behaviours, waiting):
    server = await serve()
    server.behaviours[:] = [
        waiting(server, cancel=f"{server.url}/jobs/1/cancel"),
        behaviours.hang,
        behaviours.answer(200),
    ]
    task = started(runs(upstream(server.url)))
    await server.arrives(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await runs.executor.aclose()
    last = server.received[-1]
    assert (last.method, last.path) == ("PUT", "/jobs/1/cancel")
    assert last.headers["authorization"] == "Bearer secret-of-main"
    assert runs.outcomes == [("main", "cancelled", None)]


async def test_cancelling_a_call_without_a_way_to_stop_it_closes_the_connection(serve, upstream, runs):
    left = asyncio.Event()

    async def hang(_, connection):
        await connection.gone()
        left.set()

    server = await serve(hang)
    task = started(runs(upstream(server.url)))
    await server.arrives(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await left.wait()
    await runs.executor.aclose()
    assert len(server.received) == 1


async def test_work_that_is_given_up_for_want_of_time_is_stopped_too(serve, upstream, runs, behaviours, waiting):
    server = await serve()
    again = waiting(server, cancel=f"{server.url}/jobs/1/cancel")
    server.behaviours[:] = [again, again, behaviours.answer(200)]
    await runs.fails(upstream(server.url), seconds=7.0)
    await runs.executor.aclose()
    assert server.received[-1].path == "/jobs/1/cancel"


async def test_work_that_has_ended_is_not_stopped(serve, upstream, runs, behaviours, waiting):
    server = await serve()
    server.behaviours[:] = [
        waiting(server, cancel=f"{server.url}/jobs/1/cancel"),
        behaviours.answer(200, {"refused": "violence"}),
    ]
    await runs.fails(upstream(server.url))
    await runs.executor.aclose()
    assert [each.method for each in server.received] == ["POST", "GET"]


async def test_a_stop_url_elsewhere_gets_no_request_and_no_key(serve, upstream, runs, behaviours, waiting):
    elsewhere = await serve(behaviours.answer(200))
    server = await serve()
    server.behaviours[:] = [waiting(server, cancel=f"{elsewhere.url}/steal"), behaviours.answer(404)]
    await runs.fails(upstream(server.url))
    await runs.executor.aclose()
    assert elsewhere.received == []


async def test_a_stop_that_hangs_does_not_keep_the_executor_from_closing(serve, upstream, runs, behaviours, waiting):
    server = await serve()
    server.behaviours[:] = [
        waiting(server, cancel=f"{server.url}/jobs/1/cancel"),
        behaviours.answer(404),
        behaviours.hang,
    ]
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    await runs.fails(upstream(server.url, cancel_timeout_s=0.1))
    async with asyncio.timeout(5):
        await runs.executor.aclose()
    assert server.received[-1].path == "/jobs/1/cancel"
    gc.collect()
    assert complaints == []


# Downloads


async def test_results_by_url_are_downloaded_at_the_same_time(serve, upstream, runs, behaviours):
    meeting = asyncio.Barrier(3)

    async def fetch(url):
        async with asyncio.timeout(5):
            await meeting.wait()
        return url.encode()

    runs.download = fetch
    server = await serve(behaviours.answer(200, {"images": ["a", "b", "c"]}))
    outcome = await runs(upstream(server.url))
    assert [image.data for image in outcome.result.images] == [b"a", b"b", b"c"]


async def test_a_download_that_fails_is_tried_again_since_the_image_is_paid_for(serve, upstream, runs, done, time):
    failures = [GatewayError(ErrorKind.UNAVAILABLE, "not there yet")] * 2

    async def fetch(url):
        if failures:
            raise failures.pop()
        return b"image"

    runs.download = fetch
    server = await serve(done)
    outcome = await runs(upstream(server.url))
    assert outcome.result.images[0].data == b"image"
    assert time.waits == [0.25, 0.5]


async def test_images_that_can_be_had_are_returned_when_others_cannot(serve, upstream, runs, behaviours):
    async def fetch(url):
        if url == "gone":
            raise GatewayError(ErrorKind.BAD_RESPONSE, "The link has expired.")
        return url.encode()

    runs.download = fetch
    server = await serve(behaviours.answer(200, {"images": ["a", "gone"]}))
    outcome = await runs(upstream(server.url))
    assert [image.data for image in outcome.result.images] == [b"a"]
    assert outcome.result.warnings == ("1 of 2 results could not be downloaded: The link has expired.",)


async def test_a_call_none_of_whose_images_can_be_had_has_failed(serve, upstream, runs, done):
    async def fetch(url):
        raise GatewayError(ErrorKind.BAD_RESPONSE, "The link has expired.")

    runs.download = fetch
    server = await serve(done)
    error = await runs.fails(upstream(server.url))
    assert error.message == "The link has expired."
    assert len(server.received) == 1


async def test_a_download_is_not_waited_for_beyond_the_deadline(serve, upstream, runs, done, time):
    async def fetch(url):
        raise GatewayError(ErrorKind.UNAVAILABLE, "not there yet")

    runs.download = fetch
    server = await serve(done)
    await runs.fails(upstream(server.url), seconds=1.0)
    assert time.waits == [0.25, 0.5]


async def test_a_download_that_hangs_ends_with_the_deadline(serve, upstream, runs, done):
    async def fetch(url):
        await asyncio.Event().wait()

    runs.download = fetch
    server = await serve(done)
    error = await runs.fails(upstream(server.url), seconds=0.3)
    assert error.kind is ErrorKind.DEADLINE_EXCEEDED


async def test_a_dead_link_is_tried_twice(serve, upstream, runs, done):
    tried = []

    async def fetch(url):
        tried.append(url)
        raise GatewayError(ErrorKind.BAD_RESPONSE, "The link has expired.")

    runs.download = fetch
    server = await serve(done)
    await runs.fails(upstream(server.url))
    assert len(tried) == 2


async def test_a_download_that_drips_ends_with_the_attempt_s_time(serve, upstream, runs, done):
    async def fetch(url):
        await asyncio.Event().wait()

    runs.download = fetch
    server = await serve(done)
    error = await runs.fails(upstream(server.url, attempt_timeout_s=0.3))
    assert (error.kind, error.code, error.may_have_run) == (ErrorKind.TIMEOUT, "", True)


async def test_downloads_have_the_time_that_polling_left(serve, upstream, runs, waiting, done, time):
    async def fetch(url):
        raise GatewayError(ErrorKind.UNAVAILABLE, "not there yet")

    runs.download = fetch
    server = await serve()
    server.behaviours[:] = [waiting(server), done]
    await runs.fails(upstream(server.url, attempt_timeout_s=6.0))
    assert time.waits == [5.0, 0.25, 0.5]


async def test_cancelling_a_call_cancels_its_downloads(serve, upstream, runs, done):
    downloading, stopped = asyncio.Event(), asyncio.Event()

    async def fetch(url):
        downloading.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    runs.download = fetch
    server = await serve(done)
    task = started(runs(upstream(server.url)))
    await downloading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await stopped.wait()
    assert runs.outcomes == [("main", "cancelled", None)]


@pytest.mark.parametrize("name", ["poll_timeout_s", "cancel_timeout_s", "max_response_bytes"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_settings_without_a_limit_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        ExchangeSettings(**{name: value})
