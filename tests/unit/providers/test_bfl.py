"""Black Forest Labs: the whole requests, the answer, refusals and errors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from exchange_driver import drive
from provider_case import BASE_URL, SOURCE, answer
from vendor_answers import answers

from service.catalog.profile import Profile
from service.core.calls import CallResult, ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import ImageFormat, Size
from service.providers import wire
from service.providers.base import Credential, Endpoint
from service.providers.bfl import BlackForestLabs
from service.providers.http import HttpRequest, JsonBody, Purpose, SignableRequest

ANSWERS = answers("bfl")
ENDPOINT = Endpoint("bfl", BASE_URL)
CALL = ProviderCall(
    "flux-2-pro", SOURCE, size=Size(1024, 768), prompt="Vary it.", seed=7, output_format=ImageFormat.PNG
)
IMAGE = wire.base64_text(SOURCE.data)
TASK = f"{BASE_URL}/get_result?id=0b3d1f5e-8c39-4a2e-9a3a-0d3d1c1f1a11"
SAMPLE = "https://delivery-eu1.bfl.ai/results/0b/sample.jpeg?sig=x"


def ask(call: ProviderCall, *names: str, endpoint: Endpoint = ENDPOINT) -> tuple[list[HttpRequest], CallResult]:
    driven = drive(BlackForestLabs().vary(call, Profile(), endpoint), [ANSWERS[name] for name in names])
    return list(driven.requests), driven.finished


def fields_of(call: ProviderCall) -> Mapping[str, Any]:
    body = drive(BlackForestLabs().vary(call, Profile(), ENDPOINT), ()).requests[0].body
    assert isinstance(body, JsonBody)
    fields: Mapping[str, Any] = body.value
    return fields


def test_the_whole_requests_and_the_answer() -> None:
    requests, result = ask(CALL, "submitted", "pending", "ready")
    submission = HttpRequest(
        "POST",
        f"{BASE_URL}/flux-2-pro",
        Purpose.SUBMIT,
        body=JsonBody(
            {
                "prompt": "Vary it.",
                "seed": 7,
                "output_format": "png",
                "input_image": IMAGE,
                "width": 1024,
                "height": 768,
            }
        ),
    )
    polls = [HttpRequest("GET", TASK, Purpose.POLL, delay_s=delay) for delay in itertools.islice(wire.poll_delays(), 2)]
    assert requests == [submission, *polls]
    assert result == CallResult(images=(ProducedImage(url=SAMPLE),), cost_usd=0.045, seeds=(7,))


def test_flux_3_is_asked_in_its_own_way() -> None:
    call = ProviderCall("flux-3-image", SOURCE, size=Size(1392, 752), prompt="Vary it.")
    assert fields_of(call) == {"prompt": "Vary it.", "images": [IMAGE], "aspect_ratio": "16:9", "resolution": "1k"}
    left_open = ProviderCall("flux-3-image", SOURCE, prompt="Vary it.")
    assert fields_of(left_open) == {"prompt": "Vary it.", "images": [IMAGE], "resolution": "1k"}


@pytest.mark.parametrize(
    ("size", "resolution"),
    [
        (Size(768, 768), "1k"),
        (Size(1568, 672), "1k"),
        (Size(1536, 1536), "1.5k"),
        (Size(2048, 2048), "2k"),
        (Size(4096, 4096), "4k"),
    ],
)
def test_flux_3_names_its_resolutions(size: Size, resolution: str) -> None:
    assert fields_of(ProviderCall("flux-3-image", SOURCE, size=size, prompt="p"))["resolution"] == resolution


def test_the_first_generation_takes_the_source_as_an_image_prompt() -> None:
    assert fields_of(ProviderCall("flux-pro-1.1", SOURCE, size=Size(1024, 768), prompt="Vary it.")) == {
        "prompt": "Vary it.",
        "image_prompt": IMAGE,
        "width": 1024,
        "height": 768,
    }


@pytest.mark.parametrize(("strength", "kept"), [(0.0, 1.0), (0.3, 0.7), (1.0, 0.0)])
def test_strength_is_how_little_of_the_source_is_kept(strength: float, kept: float) -> None:
    call = ProviderCall("flux-pro-1.1-ultra", SOURCE, size=Size(1920, 1080), prompt="Vary it.", strength=strength)
    assert fields_of(call) == {
        "prompt": "Vary it.",
        "image_prompt": IMAGE,
        "image_prompt_strength": kept,
        "aspect_ratio": "16:9",
    }


def test_kontext_is_told_a_shape() -> None:
    call = ProviderCall("flux-kontext-pro", SOURCE, size=Size(768, 1024), prompt="Vary it.")
    assert fields_of(call) == {"prompt": "Vary it.", "input_image": IMAGE, "aspect_ratio": "3:4"}


def test_options_of_the_caller_are_sent() -> None:
    call = ProviderCall("flux-2-pro", SOURCE, prompt="Vary it.", seed=7, options={"safety_tolerance": 3})
    assert fields_of(call) == {"prompt": "Vary it.", "input_image": IMAGE, "seed": 7, "safety_tolerance": 3}


def test_without_a_polling_url_the_id_is_asked_for_below_the_base_url() -> None:
    requests, result = ask(CALL, "submitted_without_url", "ready")
    assert requests[1].url == f"{BASE_URL}/get_result?id=an%20id%2Fwith%20%3F"
    assert result.cost_usd is None


def test_a_prompt_that_the_vendor_rewrote_is_handed_on() -> None:
    _, result = ask(CALL, "submitted", "ready_with_own_prompt")
    assert result.images[0].revised_prompt == "A lighthouse at dusk."


@pytest.mark.parametrize("cost", [None, True, -1, "4.5x", float("nan"), 10**400, {}])
def test_a_cost_that_is_none_is_not_reported(cost: object) -> None:
    submitted = answer({"id": "x", "polling_url": TASK, "cost": cost})
    driven = drive(BlackForestLabs().vary(CALL, Profile(), ENDPOINT), [submitted, ANSWERS["ready"]])
    assert driven.finished.cost_usd is None


def test_what_a_credit_is_worth_can_be_set() -> None:
    _, result = ask(CALL, "submitted", "ready", endpoint=Endpoint("bfl", BASE_URL, options={"credit_usd": "1"}))
    assert result.cost_usd == 4.5


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("request_moderated", ErrorKind.CONTENT_REJECTED, "Request Moderated (Derivative Works Filter)."),
        ("content_moderated", ErrorKind.CONTENT_REJECTED, "Content Moderated (Safety Filter)."),
        ("error", ErrorKind.UNAVAILABLE, "(Generation failed)"),
        ("not_found", ErrorKind.BAD_RESPONSE, "lost the task"),
        ("ready_without_sample", ErrorKind.BAD_RESPONSE, "no URL"),
    ],
)
def test_a_task_that_ends_without_an_image_says_why(name: str, kind: ErrorKind, reason: str) -> None:
    with pytest.raises(GatewayError) as caught:
        ask(CALL, "submitted", name)
    assert caught.value.kind is kind
    assert reason in caught.value.message


@pytest.mark.parametrize(
    ("name", "kind", "message", "retry_after_s"),
    [
        ("unauthorized", ErrorKind.UPSTREAM_AUTH, "403: Not authenticated", None),
        ("out_of_credit", ErrorKind.UPSTREAM_AUTH, "402: Insufficient credits.", None),
        ("unknown_model", ErrorKind.MODEL_GONE, "404: Not Found", None),
        ("not_found_404", ErrorKind.BAD_RESPONSE, "404.", None),
        ("invalid", ErrorKind.UNSUPPORTED, "422: body.width: Input should be greater than", None),
        ("rate_limited", ErrorKind.RATE_LIMITED, "429: Too many active tasks.", None),
        ("rate_limited_with_hint", ErrorKind.RATE_LIMITED, "429: Too many active tasks.", 5.0),
        ("internal", ErrorKind.UNAVAILABLE, "500: Internal Server Error", None),
    ],
)
def test_errors(name: str, kind: ErrorKind, message: str, retry_after_s: float | None) -> None:
    failure = BlackForestLabs().failure(ANSWERS[name])
    assert (failure.kind, failure.retry_after_s) == (kind, retry_after_s)
    assert failure.message.startswith(f"The provider answered {message}")


def test_the_key_has_a_header_of_its_own() -> None:
    signable = SignableRequest("POST", BASE_URL, {}, b"")
    headers = BlackForestLabs().authorization(signable, Credential("main", "the-key"), ENDPOINT, datetime.now(UTC))
    assert headers == {"x-key": "the-key"}
