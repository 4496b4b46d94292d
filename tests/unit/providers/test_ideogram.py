"""Ideogram's remix: the whole request per generation of the API, the answer, refusals and errors."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from exchange_driver import drive
from hostile_json import corrupted_bodies
from provider_case import SOURCE
from vendor_answers import answers

from service.catalog.profile import Profile
from service.core.calls import ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Size
from service.providers.base import Credential, Endpoint
from service.providers.http import FormBody, FormFile, HttpRequest, HttpResponse, SignableRequest
from service.providers.ideogram import IdeogramRemix

ANSWERS = answers("ideogram")
ENDPOINT = Endpoint("ideogram", "https://ideogram.test")
IMAGE = FormFile("image", "image.png", "image/png", SOURCE.data)
CALL = ProviderCall("ideogram-v3", SOURCE, n=2, prompt="Vary it.")
LINK = "https://ideogram.ai/api/images/ephemeral/{}.png?exp=1&sig=x"


def asked(call: ProviderCall) -> HttpRequest:
    requests = drive(IdeogramRemix().vary(call, Profile(), ENDPOINT), [ANSWERS["success"]]).requests
    return requests[0]


def fields_of(call: ProviderCall) -> dict[str, str]:
    body = asked(call).body
    assert isinstance(body, FormBody)
    return dict(body.fields)


def test_the_whole_request_of_version_3() -> None:
    call = ProviderCall(
        "ideogram-v3",
        SOURCE,
        n=2,
        size=Size(1248, 832),
        prompt="Vary it.",
        strength=0.2,
        seed=7,
        options={"style_type": "REALISTIC", "style_codes": ["AAFF5733", "0133FF57"]},
    )
    assert asked(call) == HttpRequest(
        "POST",
        "https://ideogram.test/v1/ideogram-v3/remix",
        body=FormBody(
            fields=(
                ("prompt", "Vary it."),
                ("image_weight", "80"),
                ("num_images", "2"),
                ("seed", "7"),
                ("resolution", "1248x832"),
                ("magic_prompt", "OFF"),
                ("style_type", "REALISTIC"),
                ("style_codes", "AAFF5733"),
                ("style_codes", "0133FF57"),
            ),
            files=(IMAGE,),
        ),
    )


def test_the_whole_request_of_version_4() -> None:
    assert asked(ProviderCall("ideogram-v4", SOURCE, prompt="Vary it.", strength=0.5)) == HttpRequest(
        "POST",
        "https://ideogram.test/v1/ideogram-v4/remix",
        body=FormBody(fields=(("text_prompt", "Vary it."), ("image_weight", "50")), files=(IMAGE,)),
    )


def test_the_whole_request_of_the_second_api() -> None:
    assert asked(ProviderCall("auto", SOURCE, n=3, prompt="Vary it.", seed=1)) == HttpRequest(
        "POST",
        "https://ideogram.test/v2/image/remix/auto",
        body=FormBody(fields=(("prompt", "Vary it."), ("num_images", "3"), ("seed", "1")), files=(IMAGE,)),
    )


@pytest.mark.parametrize("model", ["..", "../../account", "auto?dry_run=true"])
def test_a_name_cannot_leave_its_place_in_the_path(model: str) -> None:
    with pytest.raises(GatewayError) as caught:
        asked(ProviderCall(model, SOURCE, prompt="p"))
    assert caught.value.kind is ErrorKind.MODEL_GONE


@pytest.mark.parametrize(("strength", "weight"), [(0.0, "100"), (0.2, "80"), (0.5, "50"), (1.0, "1")])
def test_strength_is_the_inverse_of_the_weight_of_the_image(strength: float, weight: str) -> None:
    assert fields_of(ProviderCall("ideogram-v3", SOURCE, prompt="p", strength=strength))["image_weight"] == weight


def test_a_seed_stays_in_the_vendors_range() -> None:
    assert fields_of(ProviderCall("ideogram-v3", SOURCE, prompt="p", seed=2**32 - 1))["seed"] == str(2**31 - 1)
    assert fields_of(ProviderCall("ideogram-v3", SOURCE, prompt="p", seed=0))["seed"] == "0"


def test_the_credential_is_a_header() -> None:
    request = SignableRequest("POST", ENDPOINT.base_url, {}, b"")
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert IdeogramRemix().authorization(request, Credential("main", "k"), ENDPOINT, now) == {"api-key": "k"}


def test_images_are_links_with_the_prompt_that_was_used() -> None:
    result = drive(IdeogramRemix().vary(CALL, Profile(), ENDPOINT), [ANSWERS["success"]]).finished
    assert result.images == tuple(
        ProducedImage(url=LINK.format(number), revised_prompt="A lighthouse at dusk.") for number in (11, 12)
    )
    assert result.warnings == ()


def test_the_good_ones_of_several_are_kept_with_a_warning() -> None:
    result = drive(IdeogramRemix().vary(CALL, Profile(), ENDPOINT), [ANSWERS["partly_unsafe"]]).finished
    assert [image.url for image in result.images] == [LINK.format(11)]
    assert result.warnings == ("The provider refused 1 of 2 images.",)


@pytest.mark.parametrize(
    ("answer", "kind"), [("unsafe", ErrorKind.CONTENT_REJECTED), ("empty", ErrorKind.BAD_RESPONSE)]
)
def test_a_success_without_an_image_is_none(answer: str, kind: ErrorKind) -> None:
    with pytest.raises(GatewayError) as caught:
        drive(IdeogramRemix().vary(CALL, Profile(), ENDPOINT), [ANSWERS[answer]])
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("unauthorized", ErrorKind.UPSTREAM_AUTH),
        ("forbidden", ErrorKind.UPSTREAM_AUTH),
        ("no_funds", ErrorKind.UPSTREAM_AUTH),
        ("daily_limit", ErrorKind.UPSTREAM_AUTH),
        ("too_many_at_once", ErrorKind.RATE_LIMITED),
        ("rate_limited", ErrorKind.RATE_LIMITED),
        ("prompt_refused", ErrorKind.CONTENT_REJECTED),
        ("invalid", ErrorKind.UNSUPPORTED),
        ("unknown_model", ErrorKind.MODEL_GONE),
        ("internal", ErrorKind.UNAVAILABLE),
    ],
)
def test_errors_say_whose_fault_it_is(answer: str, kind: ErrorKind) -> None:
    failure = IdeogramRemix().failure(ANSWERS[answer])
    assert (failure.kind, failure.upstream_status) == (kind, ANSWERS[answer].status)


def test_no_answer_breaks_the_translator() -> None:
    for body in corrupted_bodies(ANSWERS["partly_unsafe"].body):
        with suppress(GatewayError):
            drive(IdeogramRemix().vary(CALL, Profile(), ENDPOINT), [HttpResponse(200, {}, body)])


def test_whether_the_vendor_may_rewrite_the_prompt_is_the_callers_to_say() -> None:
    call = ProviderCall("ideogram-v3", SOURCE, prompt="Vary it.", options={"magic_prompt": "ON"})
    assert fields_of(call)["magic_prompt"] == "ON"


def test_no_error_body_breaks_the_translator() -> None:
    for body in corrupted_bodies(ANSWERS["no_funds"].body):
        assert isinstance(IdeogramRemix().failure(HttpResponse(402, {}, body)), GatewayError)
