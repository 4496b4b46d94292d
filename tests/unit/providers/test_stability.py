"""Stability AI: the whole request per model, the answer, refusals and errors."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from exchange_driver import drive
from hostile_json import corrupted_bodies
from provider_case import RESULTS, SOURCE
from vendor_answers import answers

from service.catalog.profile import Profile
from service.core.calls import ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import EncodedImage, ImageFormat, Size
from service.providers.base import Credential, Endpoint
from service.providers.http import FormBody, FormFile, HttpRequest, HttpResponse, SignableRequest
from service.providers.stability import StabilityImages
from service.providers.stability_shape import vendor_seed

ANSWERS = answers("stability")
ENDPOINT = Endpoint("stability", "https://stability.test/v2beta")
IMAGE = FormFile("image", "image.png", "image/png", SOURCE.data)


def asked(call: ProviderCall) -> HttpRequest:
    requests = drive(StabilityImages().vary(call, Profile(), ENDPOINT), [ANSWERS["success"]]).requests
    return requests[0]


def fields_of(call: ProviderCall) -> dict[str, str]:
    body = asked(call).body
    assert isinstance(body, FormBody)
    return dict(body.fields)


def test_the_whole_request_of_image_to_image() -> None:
    call = ProviderCall(
        "sd3.5-large",
        SOURCE,
        prompt="Vary it.",
        strength=0.35,
        seed=7,
        output_format=ImageFormat.PNG,
        user="user-1",
        options={"negative_prompt": "text", "cfg_scale": 4},
    )
    assert asked(call) == HttpRequest(
        "POST",
        "https://stability.test/v2beta/stable-image/generate/sd3",
        headers={"accept": "application/json", "stability-client-user-id": "user-1"},
        body=FormBody(
            fields=(
                ("mode", "image-to-image"),
                ("prompt", "Vary it."),
                ("strength", "0.35"),
                ("seed", "7"),
                ("output_format", "png"),
                ("model", "sd3.5-large"),
                ("negative_prompt", "text"),
                ("cfg_scale", "4"),
            ),
            files=(IMAGE,),
        ),
    )


@pytest.mark.parametrize(
    ("model", "path", "fields", "files"),
    [
        ("sd3.5-medium", "generate/sd3", {"mode": "image-to-image", "model": "sd3.5-medium", "strength": "0.3"}, 1),
        ("stable-image-ultra", "generate/ultra", {"strength": "0.3"}, 1),
        ("control-structure", "control/structure", {"control_strength": "0.7"}, 1),
        ("control-style", "control/style", {"fidelity": "0.7", "aspect_ratio": "1:1"}, 1),
        ("control-style-transfer", "control/style-transfer", {"change_strength": "0.3"}, 2),
    ],
)
def test_each_model_has_its_path_and_its_knob(model: str, path: str, fields: dict[str, str], files: int) -> None:
    request = asked(ProviderCall(model, SOURCE, prompt="p", strength=0.3))
    assert request.url == f"https://stability.test/v2beta/stable-image/{path}"
    assert isinstance(request.body, FormBody)
    assert dict(request.body.fields) == {"prompt": "p", **fields}
    assert len(request.body.files) == files


def test_without_a_strength_only_the_demanded_one_is_sent() -> None:
    assert fields_of(ProviderCall("sd3.5-large", SOURCE, prompt="p"))["strength"] == "0.6"
    assert "control_strength" not in fields_of(ProviderCall("control-structure", SOURCE, prompt="p"))
    assert "change_strength" not in fields_of(ProviderCall("control-style-transfer", SOURCE))


def test_style_transfer_redraws_the_source_in_its_own_style() -> None:
    body = asked(ProviderCall("control-style-transfer", SOURCE)).body
    assert isinstance(body, FormBody)
    assert [file.name for file in body.files] == ["init_image", "style_image"]
    assert body.fields == ()


def test_the_least_change_of_style_transfer_is_a_tenth() -> None:
    assert fields_of(ProviderCall("control-style-transfer", SOURCE, strength=0.0))["change_strength"] == "0.1"


def test_style_keeps_the_shape_of_the_source_where_no_size_is_asked_for() -> None:
    wide = EncodedImage(SOURCE.data, ImageFormat.PNG, Size(1920, 1080))
    assert fields_of(ProviderCall("control-style", wide, prompt="p"))["aspect_ratio"] == "16:9"
    call = ProviderCall("control-style", wide, prompt="p", size=Size(832, 1216))
    assert fields_of(call)["aspect_ratio"] == "2:3"


@pytest.mark.parametrize(
    ("ours", "theirs"), [(1, 1), (7, 7), (4_294_967_294, 4_294_967_294), (0, 4_294_967_294), (4_294_967_295, 1)]
)
def test_every_seed_is_one_that_the_vendor_does_not_take_for_any(ours: int, theirs: int) -> None:
    assert vendor_seed(ours) == theirs


@pytest.mark.parametrize("user", ["", "two\r\nx-injected: 1", "naïve", "x" * 257])
def test_a_user_that_no_header_can_hold_is_left_out(user: str) -> None:
    request = asked(ProviderCall("sd3.5-large", SOURCE, prompt="p", user=user))
    assert request.headers == {"accept": "application/json"}


def test_a_model_that_is_not_for_this_is_named() -> None:
    with pytest.raises(GatewayError, match="'stable-image-core'") as caught:
        asked(ProviderCall("stable-image-core", SOURCE, prompt="p"))
    assert (caught.value.kind, caught.value.may_have_run) == (ErrorKind.UNSUPPORTED, False)


def test_the_credential_is_a_bearer_token() -> None:
    request = SignableRequest("POST", ENDPOINT.base_url, {}, b"")
    headers = StabilityImages().authorization(
        request, Credential("main", "sk-1"), ENDPOINT, datetime(2026, 11, 22, tzinfo=UTC)
    )
    assert headers == {"authorization": "Bearer sk-1"}


CALL = ProviderCall("sd3.5-large", SOURCE, prompt="p")


def test_the_answer_holds_one_image() -> None:
    result = drive(StabilityImages().vary(CALL, Profile(), ENDPOINT), [ANSWERS["success"]]).finished
    assert result.images == (ProducedImage(data=RESULTS[0]),)


@pytest.mark.parametrize(
    ("answer", "kind"), [("filtered", ErrorKind.CONTENT_REJECTED), ("no_image", ErrorKind.BAD_RESPONSE)]
)
def test_a_blurred_or_missing_image_is_none(answer: str, kind: ErrorKind) -> None:
    with pytest.raises(GatewayError) as caught:
        drive(StabilityImages().vary(CALL, Profile(), ENDPOINT), [ANSWERS[answer]])
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("answer", "kind", "retry_after_s"),
    [
        ("unauthorized", ErrorKind.UPSTREAM_AUTH, None),
        ("no_credits", ErrorKind.UPSTREAM_AUTH, None),
        ("forbidden", ErrorKind.UPSTREAM_AUTH, None),
        ("moderated", ErrorKind.CONTENT_REJECTED, None),
        ("invalid", ErrorKind.UNSUPPORTED, None),
        ("unprocessable", ErrorKind.UNSUPPORTED, None),
        ("too_large", ErrorKind.UNSUPPORTED, None),
        ("unknown_path", ErrorKind.MODEL_GONE, None),
        ("rate_limited", ErrorKind.RATE_LIMITED, None),
        ("rate_limited_with_hint", ErrorKind.RATE_LIMITED, 60.0),
        ("internal", ErrorKind.UNAVAILABLE, None),
    ],
)
def test_errors_say_whose_fault_it_is(answer: str, kind: ErrorKind, retry_after_s: float | None) -> None:
    failure = StabilityImages().failure(ANSWERS[answer])
    assert (failure.kind, failure.retry_after_s) == (kind, retry_after_s)
    assert failure.upstream_status == ANSWERS[answer].status


def test_a_hint_in_a_header_goes_before_the_one_in_the_text() -> None:
    answer = ANSWERS["rate_limited_with_hint"]
    failure = StabilityImages().failure(HttpResponse(429, {**answer.headers, "retry-after": "3"}, answer.body))
    assert failure.retry_after_s == 3.0


def test_no_answer_breaks_the_translator() -> None:
    for body in corrupted_bodies(ANSWERS["success"].body):
        with suppress(GatewayError):
            drive(StabilityImages().vary(CALL, Profile(), ENDPOINT), [HttpResponse(200, {}, body)])


def test_no_error_body_breaks_the_translator() -> None:
    for body in corrupted_bodies(ANSWERS["moderated"].body):
        assert isinstance(StabilityImages().failure(HttpResponse(403, {}, body)), GatewayError)
