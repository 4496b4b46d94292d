"""Replicate: the whole requests, recorded and composed answers, refusals and errors."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from exchange_driver import drive
from provider_case import BASE_URL, SOURCE
from vendor_answers import answers

from service.catalog import catalog
from service.core.calls import CallResult, ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import ImageFormat, Size
from service.providers import wire
from service.providers.base import Credential, Endpoint
from service.providers.http import HttpRequest, HttpResponse, JsonBody, Purpose, SignableRequest
from service.providers.replicate import ReplicatePredictions

ANSWERS = answers("replicate")
RECORDED = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "replicate" / "recorded.json").read_text(encoding="utf-8")
)["answers"]
REDUX = catalog.load()["replicate"].models["black-forest-labs/flux-redux-dev"]
ENDPOINT = Endpoint("replicate", BASE_URL)
CALL = ProviderCall(
    "black-forest-labs/flux-redux-dev", SOURCE, n=2, size=Size(1344, 768), seed=7, output_format=ImageFormat.JPEG
)
FIELDS = {
    "redux_image": wire.data_url(SOURCE),
    "num_outputs": 2,
    "aspect_ratio": "16:9",
    "megapixels": "1",
    "seed": 7,
    "output_format": "jpg",
}
PREDICTION = f"{BASE_URL}/predictions/gm3qorzdhgbfurvjtvhg6dckhu"
URLS = tuple(ProducedImage(url=f"https://replicate.delivery/xezq/abc/out-{index}.webp") for index in range(2))


def recorded(name: str) -> HttpResponse:
    answer = RECORDED[name]
    return HttpResponse(answer["status"], answer["headers"], json.dumps(answer["body"]).encode())


def ask(call: ProviderCall, *names: str, endpoint: Endpoint = ENDPOINT) -> tuple[list[HttpRequest], CallResult]:
    driven = drive(ReplicatePredictions().vary(call, REDUX, endpoint), [ANSWERS[name] for name in names])
    return list(driven.requests), driven.finished


def first_request(call: ProviderCall, endpoint: Endpoint = ENDPOINT) -> HttpRequest:
    return drive(ReplicatePredictions().vary(call, REDUX, endpoint), ()).requests[0]


def test_the_whole_request_and_an_answer_that_is_finished_at_once() -> None:
    requests, result = ask(CALL, "succeeded")
    assert requests == [
        HttpRequest(
            "POST",
            f"{BASE_URL}/models/black-forest-labs/flux-redux-dev/predictions",
            Purpose.SUBMIT,
            headers={"prefer": "wait=60"},
            body=JsonBody({"input": FIELDS}),
        )
    ]
    assert result == CallResult(images=URLS)


def test_what_is_not_finished_is_polled_for_and_can_be_cancelled() -> None:
    requests, result = ask(CALL, "starting", "processing", "succeeded_later")
    cancel = HttpRequest("POST", f"{PREDICTION}/cancel", Purpose.CANCEL)
    assert requests[1:] == [
        HttpRequest("GET", PREDICTION, Purpose.POLL, delay_s=delay, cancel=cancel)
        for delay in itertools.islice(wire.poll_delays(), 2)
    ]
    assert result.images == URLS


def test_the_recorded_answer_that_is_still_processing_is_polled_where_it_says() -> None:
    driven = drive(
        ReplicatePredictions().vary(CALL, REDUX, ENDPOINT),
        [recorded("processing_after_waiting"), ANSWERS["succeeded_later"]],
    )
    poll = driven.requests[1]
    assert poll.url == "https://api.replicate.com/v1/predictions/kr2d2jhqbsrj60cjb2vtmekgh4"
    assert poll.cancel is not None
    assert poll.cancel.url == f"{poll.url}/cancel"
    assert driven.finished.images == URLS


def test_the_recorded_request_has_the_same_envelope_as_ours() -> None:
    theirs, ours = RECORDED["processing_after_waiting"]["request"], first_request(CALL)
    assert (ours.method, set(ours.headers)) == (theirs["method"], {"prefer"})
    assert isinstance(ours.body, JsonBody)
    assert set(ours.body.value) == set(theirs["body"])


def test_without_waiting_there_is_something_to_cancel_at_once() -> None:
    endpoint = Endpoint("replicate", BASE_URL, options={"wait_s": "0"})
    assert first_request(CALL, endpoint).headers == {}


@pytest.mark.parametrize("wait", ["61", "-1", "", "1\r\nx: y", "soon"])
def test_a_wrong_waiting_time_is_named(wait: str) -> None:
    with pytest.raises(GatewayError, match="wait_s") as caught:
        first_request(CALL, Endpoint("replicate", BASE_URL, options={"wait_s": wait}))
    assert caught.value.kind is ErrorKind.INTERNAL


def test_one_fixed_version_is_asked_for_in_the_body() -> None:
    request = first_request(ProviderCall("owner/name:73001d65", SOURCE))
    assert request.url == f"{BASE_URL}/predictions"
    assert request.body == JsonBody(
        {"version": "73001d65", "input": {"redux_image": wire.data_url(SOURCE), "num_outputs": 1}}
    )


@pytest.mark.parametrize("model", ["name", "a/b/c", "../b", "a/b:../x", "a/b:", "a/b?x", ""])
def test_a_name_that_is_no_models_is_never_sent(model: str) -> None:
    with pytest.raises(GatewayError) as caught:
        first_request(ProviderCall(model, SOURCE))
    assert caught.value.kind is ErrorKind.MODEL_GONE


@pytest.mark.parametrize(
    ("size", "ratio", "megapixels"),
    [
        (Size(1024, 1024), "1:1", "1"),
        (Size(512, 512), "1:1", "0.25"),
        (Size(1920, 1080), "16:9", "1"),
        (Size(640, 1536), "9:21", "1"),
        (Size(900, 1200), "3:4", "1"),
    ],
)
def test_a_size_becomes_the_nearest_shape(size: Size, ratio: str, megapixels: str) -> None:
    body = first_request(ProviderCall("a/b", SOURCE, size=size)).body
    assert isinstance(body, JsonBody)
    assert (body.value["input"]["aspect_ratio"], body.value["input"]["megapixels"]) == (ratio, megapixels)


def test_options_of_the_caller_go_into_the_input() -> None:
    body = first_request(ProviderCall("a/b", SOURCE, n=2, options={"guidance": 2.5})).body
    assert body == JsonBody({"input": {"redux_image": wire.data_url(SOURCE), "num_outputs": 2, "guidance": 2.5}})


def test_a_single_url_is_a_result_too() -> None:
    _, result = ask(ProviderCall("a/b", SOURCE), "single_output")
    assert result.images == URLS[:1]


def test_images_dropped_in_silence_are_warned_of() -> None:
    _, result = ask(CALL, "one_dropped")
    assert result.images == URLS[:1]
    assert result.warnings == ("Replicate's safety checker held back 1 of 2 images.",)


@pytest.mark.parametrize(
    ("conversation", "kind"),
    [
        (("refused",), ErrorKind.CONTENT_REJECTED),
        (("refused_as_sensitive",), ErrorKind.CONTENT_REJECTED),
        (("starting", "refused_later"), ErrorKind.CONTENT_REJECTED),
        (("failed",), ErrorKind.UNAVAILABLE),
        (("starting", "canceled"), ErrorKind.UNAVAILABLE),
        (("no_output",), ErrorKind.BAD_RESPONSE),
        (("unauthorized",), ErrorKind.BAD_RESPONSE),
    ],
)
def test_a_success_without_the_images_says_why(conversation: tuple[str, ...], kind: ErrorKind) -> None:
    with pytest.raises(GatewayError) as caught:
        ask(CALL, *conversation)
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("name", "kind", "message", "retry_after_s"),
    [
        ("unauthorized", ErrorKind.UPSTREAM_AUTH, "401: You did not pass a valid authentication token", None),
        ("out_of_credit", ErrorKind.UPSTREAM_AUTH, "402: You have insufficient credit", None),
        ("unknown_model", ErrorKind.MODEL_GONE, "404: The requested resource could not be found.", None),
        ("invalid", ErrorKind.UNSUPPORTED, "422: - input.num_outputs: Must be less than", None),
        ("rate_limited", ErrorKind.RATE_LIMITED, "429: Request was throttled.", None),
        ("rate_limited_with_hint", ErrorKind.RATE_LIMITED, "429: Request was throttled. Your rate limit", 30.0),
        ("internal", ErrorKind.UNAVAILABLE, "500: An internal error occurred.", None),
    ],
)
def test_errors(name: str, kind: ErrorKind, message: str, retry_after_s: float | None) -> None:
    failure = ReplicatePredictions().failure(ANSWERS[name])
    assert (failure.kind, failure.retry_after_s) == (kind, retry_after_s)
    assert failure.message.startswith(f"The provider answered {message}")


def test_the_recorded_answer_to_a_wrong_token() -> None:
    failure = ReplicatePredictions().failure(recorded("invalid_token"))
    assert failure.kind is ErrorKind.UPSTREAM_AUTH
    assert failure.message == "The provider answered 401: You did not pass a valid authentication token"


def test_the_token_is_a_bearer_token() -> None:
    signable = SignableRequest("POST", BASE_URL, {}, b"")
    headers = ReplicatePredictions().authorization(signable, Credential("main", "r8_x"), ENDPOINT, datetime.now(UTC))
    assert headers == {"authorization": "Bearer r8_x"}
