"""fal: the whole requests of both ways, the answer, refusals and errors."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from exchange_driver import drive
from provider_case import BASE_URL, RESULTS, SOURCE
from vendor_answers import answers

from service.catalog import catalog
from service.core.calls import CallResult, ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import ImageFormat, Size
from service.providers import wire
from service.providers.base import Credential, Endpoint
from service.providers.fal import FalImages
from service.providers.http import HttpRequest, JsonBody, Purpose, SignableRequest

ANSWERS = answers("fal")
REDUX = catalog.load()["fal"].models["fal-ai/flux-1/dev/redux"]
ENDPOINT = Endpoint("fal", BASE_URL)
CALL = ProviderCall(
    "fal-ai/flux-1/dev/redux", SOURCE, n=2, size=Size(1024, 768), seed=7, output_format=ImageFormat.JPEG
)
ENTRY = f"{BASE_URL}/fal-ai/flux-1/requests/764cabcf-b745-4b3e-ae38-1200304cf45b"
TWO_URLS = tuple(ProducedImage(url=f"https://v3.fal.media/files/b/result-{index}.jpeg") for index in range(2))


def ask(call: ProviderCall, *names: str) -> tuple[list[HttpRequest], CallResult]:
    driven = drive(FalImages().vary(call, REDUX, ENDPOINT), [ANSWERS[name] for name in names])
    return list(driven.requests), driven.finished


def refusal(*names: str) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        ask(CALL, *names)
    return caught.value


def test_the_whole_request_and_its_answer_in_one_request() -> None:
    requests, result = ask(CALL, "result")
    assert requests == [
        HttpRequest(
            "POST",
            f"{BASE_URL}/fal-ai/flux-1/dev/redux",
            Purpose.SUBMIT,
            body=JsonBody(
                {
                    "image_url": wire.data_url(SOURCE),
                    "image_size": {"width": 1024, "height": 768},
                    "num_images": 2,
                    "seed": 7,
                    "output_format": "jpeg",
                }
            ),
        )
    ]
    assert result == CallResult(images=TWO_URLS, seeds=(7,))


def test_the_queue_is_polled_by_the_urls_it_names_and_can_be_cancelled() -> None:
    requests, result = ask(CALL, "queued", "in_queue", "in_progress", "completed", "result")
    cancel = HttpRequest("PUT", f"{ENTRY}/cancel", Purpose.CANCEL)
    polls = [
        HttpRequest("GET", f"{ENTRY}/status", Purpose.POLL, delay_s=delay, cancel=cancel)
        for delay in itertools.islice(wire.poll_delays(), 3)
    ]
    assert requests[1:] == [*polls, HttpRequest("GET", ENTRY, Purpose.POLL)]
    assert result.images == TWO_URLS


def test_polls_come_quickly_at_first_and_then_at_a_steady_pace() -> None:
    delays = list(itertools.islice(wire.poll_delays(), 20))
    assert delays[0] == 0.5
    assert delays == sorted(delays)
    assert delays[-1] == 4.0


def test_knobs_of_other_models_are_sent_where_they_are_given() -> None:
    call = ProviderCall(
        "fal-ai/flux/dev/image-to-image",
        SOURCE,
        prompt="At dusk.",
        strength=0.4,
        options={"num_inference_steps": 20},
    )
    profile = catalog.load()["fal"].models[call.model]
    request = drive(FalImages().vary(call, profile, ENDPOINT), [ANSWERS["result"]]).requests[0]
    assert request.body == JsonBody(
        {
            "image_url": wire.data_url(SOURCE),
            "prompt": "At dusk.",
            "num_images": 1,
            "strength": 0.4,
            "num_inference_steps": 20,
        }
    )


@pytest.mark.parametrize(
    "model", ["", "redux", "../admin", "fal-ai/../x", "fal-ai//x", "fal-ai/x?y=1", "a/b#c", "/a/b"]
)
def test_a_name_that_is_no_path_of_a_model_is_never_sent(model: str) -> None:
    with pytest.raises(GatewayError) as caught:
        drive(FalImages().vary(ProviderCall(model, SOURCE), REDUX, ENDPOINT), ())
    assert caught.value.kind is ErrorKind.MODEL_GONE
    assert not caught.value.may_have_run


def test_an_inline_result_is_decoded() -> None:
    _, result = ask(CALL, "inline")
    assert result.images == (ProducedImage(data=RESULTS[0]),)


def test_a_flagged_image_is_left_out_with_a_warning() -> None:
    _, result = ask(CALL, "one_flagged")
    assert result.images == TWO_URLS[:1]
    assert result.warnings == ("fal's safety checker held back 1 of 2 images.",)


@pytest.mark.parametrize(
    ("conversation", "kind"),
    [
        (("all_flagged",), ErrorKind.CONTENT_REJECTED),
        (("queued", "completed_with_policy_error"), ErrorKind.CONTENT_REJECTED),
        (("queued", "completed_with_timeout"), ErrorKind.TIMEOUT),
        (("queued", "completed_with_error"), ErrorKind.UNAVAILABLE),
        (("queued", "completed_with_bad_request"), ErrorKind.UNSUPPORTED),
        (("no_images",), ErrorKind.BAD_RESPONSE),
        (("queued", "completed", "no_images"), ErrorKind.BAD_RESPONSE),
        (("unauthorized",), ErrorKind.BAD_RESPONSE),
    ],
)
def test_a_success_without_the_images_says_why(conversation: tuple[str, ...], kind: ErrorKind) -> None:
    assert refusal(*conversation).kind is kind


@pytest.mark.parametrize(
    ("name", "kind", "message", "may_have_run"),
    [
        ("unauthorized", ErrorKind.UPSTREAM_AUTH, "401: Cannot access application", False),
        ("locked", ErrorKind.UPSTREAM_AUTH, "403: User is locked. Reason: Exhausted balance", False),
        ("unknown_model", ErrorKind.MODEL_GONE, "404: Application 'flux-0' not found", False),
        ("invalid", ErrorKind.UNSUPPORTED, "422: body.num_images: ensure this value is less than", False),
        ("refused", ErrorKind.CONTENT_REJECTED, "422: body.image_url: The content could not be processed", False),
        ("rate_limited", ErrorKind.RATE_LIMITED, "429: Too many requests", False),
        # Typed failures are fal's own, which it does not bill; others may come from a proxy in between.
        ("runner_failed", ErrorKind.UNAVAILABLE, "503: Runner could not be scheduled", False),
        ("startup_timeout", ErrorKind.TIMEOUT, "504: Request timed out during startup", True),
        ("model_crashed", ErrorKind.UNAVAILABLE, "500: body: Internal server error", True),
        ("proxy_failed", ErrorKind.UNAVAILABLE, "502.", True),
    ],
)
def test_errors(name: str, kind: ErrorKind, message: str, may_have_run: bool) -> None:
    failure = FalImages().failure(ANSWERS[name])
    assert (failure.kind, failure.may_have_run, failure.retry_after_s) == (kind, may_have_run, None)
    assert failure.message.startswith(f"The provider answered {message}")


def test_the_key_has_fals_own_scheme() -> None:
    signable = SignableRequest("POST", BASE_URL, {}, b"")
    headers = FalImages().authorization(signable, Credential("main", "the-key"), ENDPOINT, datetime.now(UTC))
    assert headers == {"authorization": "Key the-key"}
