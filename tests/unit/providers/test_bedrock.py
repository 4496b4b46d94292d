"""Stability's models on Bedrock: the whole request per model, both credentials, the answer, refusals and errors."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from exchange_driver import drive
from hostile_json import corrupted_bodies
from provider_case import RESULTS, SOURCE
from vendor_answers import answers
from whole_body import whole

from service.catalog.profile import Profile
from service.core.calls import ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import EncodedImage, ImageFormat, Size
from service.providers import wire
from service.providers.base import Credential, Endpoint
from service.providers.bedrock import BedrockStability
from service.providers.http import HttpRequest, HttpResponse, JsonBody, SignableRequest
from tests.doubles.sigv4 import parse_authorization, signature

ANSWERS = answers("bedrock")
ENDPOINT = Endpoint("bedrock", "https://bedrock-runtime.us-west-2.amazonaws.com")
SD35 = "stability.sd3-5-large-v1:0"
CALL = ProviderCall(SD35, SOURCE)
IMAGE = wire.base64_text(SOURCE.data)


def asked(call: ProviderCall, endpoint: Endpoint = ENDPOINT) -> HttpRequest:
    requests = drive(BedrockStability().vary(call, Profile(), endpoint), [ANSWERS["success"]]).requests
    return requests[0]


def fields_of(call: ProviderCall, endpoint: Endpoint = ENDPOINT) -> dict[str, Any]:
    body = asked(call, endpoint).body
    assert isinstance(body, JsonBody)
    fields: dict[str, Any] = body.value
    return fields


def test_the_whole_request_of_image_to_image() -> None:
    call = ProviderCall(
        SD35, SOURCE, strength=0.35, seed=7, output_format=ImageFormat.PNG, options={"negative_prompt": "text"}
    )
    assert asked(call) == HttpRequest(
        "POST",
        "https://bedrock-runtime.us-west-2.amazonaws.com/model/stability.sd3-5-large-v1%3A0/invoke",
        headers={"accept": "application/json"},
        body=JsonBody(
            {
                "image": IMAGE,
                "mode": "image-to-image",
                "prompt": "",
                "strength": 0.35,
                "seed": 7,
                "output_format": "png",
                "negative_prompt": "text",
            }
        ),
    )


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (SD35, {"image": IMAGE, "mode": "image-to-image", "strength": 0.3, "prompt": "p"}),
        (
            "stability.stable-image-style-guide-v1:0",
            {"image": IMAGE, "fidelity": 0.7, "aspect_ratio": "1:1", "prompt": "p"},
        ),
        ("us.stability.stable-image-control-structure-v1:0", {"image": IMAGE, "control_strength": 0.7, "prompt": "p"}),
        ("stability.stable-image-control-sketch-v1:0", {"image": IMAGE, "control_strength": 0.7, "prompt": "p"}),
        (
            "us.stability.stable-style-transfer-v1:0",
            {"init_image": IMAGE, "style_image": IMAGE, "change_strength": 0.3, "prompt": "p"},
        ),
    ],
)
def test_each_model_has_its_fields_and_its_knob(model: str, fields: dict[str, Any]) -> None:
    assert fields_of(ProviderCall(model, SOURCE, prompt="p", strength=0.3)) == fields


def test_a_style_guide_keeps_the_shape_of_the_source_where_no_size_is_asked_for() -> None:
    tall = EncodedImage(SOURCE.data, ImageFormat.PNG, Size(1080, 1920))
    call = ProviderCall("stability.stable-image-style-guide-v1:0", tall, prompt="p")
    assert fields_of(call)["aspect_ratio"] == "9:16"


def test_an_option_says_what_an_inference_profile_does() -> None:
    arn = "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abc"
    endpoint = replace(ENDPOINT, options={"operation": "structure"})
    assert fields_of(ProviderCall(arn, SOURCE, prompt="p"), endpoint) == {"image": IMAGE, "prompt": "p"}
    assert asked(ProviderCall(arn, SOURCE, prompt="p"), endpoint).url.endswith(
        "/model/arn%3Aaws%3Abedrock%3Aus-west-2%3A123456789012%3Aapplication-inference-profile%2Fabc/invoke"
    )


def test_what_an_id_says_goes_before_the_option() -> None:
    endpoint = replace(ENDPOINT, options={"operation": "structure"})
    assert fields_of(CALL, endpoint)["mode"] == "image-to-image"


def test_a_model_of_unknown_kind_is_named() -> None:
    with pytest.raises(GatewayError, match=r"'amazon\.nova-canvas-v1:0'.*'operation'") as caught:
        asked(ProviderCall("amazon.nova-canvas-v1:0", SOURCE))
    assert (caught.value.kind, caught.value.may_have_run) == (ErrorKind.UNSUPPORTED, False)


def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    endpoint = replace(ENDPOINT, options={"operation": "structure"})
    with pytest.raises(GatewayError) as caught:
        asked(ProviderCall("..", SOURCE, prompt="p"), endpoint)
    assert caught.value.kind is ErrorKind.MODEL_GONE


# Credentials

NOW = datetime(2026, 11, 22, 20, 30, 15, tzinfo=UTC)
TO_SIGN = SignableRequest(
    "POST",
    "https://bedrock-runtime.us-west-2.amazonaws.com/model/stability.sd3-5-large-v1%3A0/invoke",
    {"accept": "application/json", "content-type": "application/json", "user-agent": "x", "accept-encoding": "gzip"},
    b'{"prompt":""}',
)
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PARTS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": SECRET_ACCESS_KEY}


def authorization(
    parts: dict[str, str], endpoint: Endpoint = ENDPOINT, now: datetime = NOW, request: SignableRequest = TO_SIGN
) -> dict[str, str]:
    return dict(BedrockStability().authorization(request, Credential("aws", parts=parts), endpoint, now))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ],
)
def test_our_own_reading_of_the_specification_agrees_with_amazons_published_vectors(method: str, expected: str) -> None:
    """The cases get-vanilla and post-vanilla of AWS's Signature Version 4 test suite."""
    assert expected == signature(
        method,
        "https://example.amazonaws.com/",
        {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"},
        b"",
        secret_access_key=SECRET_ACCESS_KEY,
        scope="20150830/us-east-1/service/aws4_request",
        timestamp="20150830T123600Z",
    )


def test_an_api_key_is_a_bearer_token() -> None:
    credential = Credential("main", "bedrock-key", PARTS)
    headers = BedrockStability().authorization(TO_SIGN, credential, ENDPOINT, NOW)
    assert headers == {"authorization": "Bearer bedrock-key"}


def test_access_keys_sign_the_request_at_the_given_time() -> None:
    headers = authorization(PARTS)
    expected = signature(
        "POST",
        TO_SIGN.url,
        {
            "accept": "application/json",
            "content-type": "application/json",
            "host": "bedrock-runtime.us-west-2.amazonaws.com",
            "x-amz-date": "20261122T203015Z",
        },
        whole(TO_SIGN.body),
        secret_access_key=SECRET_ACCESS_KEY,
        scope="20261122/us-west-2/bedrock/aws4_request",
        timestamp="20261122T203015Z",
    )
    assert headers == {
        "x-amz-date": "20261122T203015Z",
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/us-west-2/bedrock/aws4_request, "
        f"SignedHeaders=accept;content-type;host;x-amz-date, Signature={expected}",
    }


def test_a_session_token_is_sent_and_signed() -> None:
    headers = authorization({**PARTS, "session_token": "the-session"})
    assert headers["x-amz-security-token"] == "the-session"
    signed = parse_authorization(headers["authorization"])["SignedHeaders"]
    assert signed == "accept;content-type;host;x-amz-date;x-amz-security-token"


def test_the_signature_is_of_the_body_the_path_and_the_moment() -> None:
    first = authorization(PARTS)
    assert authorization(PARTS) == first
    assert authorization(PARTS, now=NOW.astimezone(timezone(timedelta(hours=9)))) == first
    others = [
        authorization(PARTS, now=NOW + timedelta(seconds=1)),
        authorization(PARTS, request=replace(TO_SIGN, body=b"{}")),
        authorization(PARTS, request=replace(TO_SIGN, url=TO_SIGN.url + "x")),
        authorization({**PARTS, "secret_access_key": "other"}),
    ]
    assert len({each["authorization"] for each in [first, *others]}) == 5


@pytest.mark.parametrize(
    ("host", "option", "region"),
    [
        ("bedrock-runtime.eu-central-1.amazonaws.com", "us-east-1", "eu-central-1"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "", "us-gov-west-1"),
        ("bedrock-runtime.us-west-2.api.aws", "", "us-west-2"),
        ("vpce-0a1b.bedrock-runtime.us-west-2.vpce.amazonaws.com", "", "us-west-2"),
        ("127.0.0.1:9000", "us-west-2", "us-west-2"),
    ],
)
def test_the_region_is_that_of_the_host_else_that_of_the_option(host: str, option: str, region: str) -> None:
    endpoint = Endpoint("bedrock", f"https://{host}", options={"region": option})
    credential = parse_authorization(authorization(PARTS, endpoint)["authorization"])["Credential"]
    assert credential == f"AKIDEXAMPLE/20261122/{region}/bedrock/aws4_request"


@pytest.mark.parametrize(
    ("parts", "endpoint", "words"),
    [
        ({}, ENDPOINT, "'access_key_id'"),
        ({"access_key_id": "AKIDEXAMPLE"}, ENDPOINT, "'secret_access_key'"),
        (PARTS, Endpoint("bedrock", "http://127.0.0.1:9000"), "'region'"),
    ],
)
def test_a_credential_that_cannot_sign_says_what_is_missing(
    parts: dict[str, str], endpoint: Endpoint, words: str
) -> None:
    with pytest.raises(GatewayError, match=words) as caught:
        authorization(parts, endpoint)
    assert (caught.value.kind, caught.value.may_have_run) == (ErrorKind.UPSTREAM_AUTH, False)
    assert SECRET_ACCESS_KEY not in str(caught.value)


def test_without_botocore_signing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.auth", None)
    with pytest.raises(GatewayError, match="extra 'bedrock'") as caught:
        authorization(PARTS)
    assert caught.value.kind is ErrorKind.UPSTREAM_AUTH


# Answers


def test_the_answer_holds_one_image() -> None:
    result = drive(BedrockStability().vary(CALL, Profile(), ENDPOINT), [ANSWERS["success"]]).finished
    assert result.images == (ProducedImage(data=RESULTS[0]),)
    assert result.warnings == ()


def test_a_good_image_next_to_a_refused_one_is_kept_with_a_warning() -> None:
    result = drive(BedrockStability().vary(CALL, Profile(), ENDPOINT), [ANSWERS["one_of_two_refused"]]).finished
    assert result.images == (ProducedImage(data=RESULTS[0]),)
    assert result.warnings == ("The provider refused one of several images: Filter reason: output image",)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("prompt_refused", ErrorKind.CONTENT_REJECTED),
        ("output_refused", ErrorKind.CONTENT_REJECTED),
        ("inference_error", ErrorKind.UNAVAILABLE),
        ("no_images", ErrorKind.BAD_RESPONSE),
    ],
)
def test_a_success_without_an_image_is_none(answer: str, kind: ErrorKind) -> None:
    with pytest.raises(GatewayError) as caught:
        drive(BedrockStability().vary(CALL, Profile(), ENDPOINT), [ANSWERS[answer]])
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("answer", "kind", "may_have_run"),
    [
        ("access_denied", ErrorKind.UPSTREAM_AUTH, False),
        ("bad_signature", ErrorKind.UPSTREAM_AUTH, False),
        ("expired_token", ErrorKind.UPSTREAM_AUTH, False),
        ("quota", ErrorKind.UPSTREAM_AUTH, False),
        ("invalid", ErrorKind.UNSUPPORTED, False),
        ("unknown_model", ErrorKind.MODEL_GONE, False),
        ("retired_model", ErrorKind.MODEL_GONE, False),
        ("model_timeout", ErrorKind.TIMEOUT, True),
        ("model_error", ErrorKind.UNAVAILABLE, True),
        ("throttled", ErrorKind.RATE_LIMITED, False),
        ("not_ready", ErrorKind.UNAVAILABLE, False),
        ("internal", ErrorKind.UNAVAILABLE, True),
        ("unavailable", ErrorKind.UNAVAILABLE, True),
    ],
)
def test_errors_say_whose_fault_it_is(answer: str, kind: ErrorKind, may_have_run: bool) -> None:
    failure = BedrockStability().failure(ANSWERS[answer])
    assert (failure.kind, failure.may_have_run) == (kind, may_have_run)
    assert failure.upstream_status == ANSWERS[answer].status


@pytest.mark.parametrize("answer", ["success", "one_of_two_refused"])
def test_no_answer_breaks_the_translator(answer: str) -> None:
    for body in corrupted_bodies(ANSWERS[answer].body):
        with suppress(GatewayError):
            drive(BedrockStability().vary(CALL, Profile(), ENDPOINT), [HttpResponse(200, {}, body)])


def test_no_error_body_breaks_the_translator() -> None:
    for body in corrupted_bodies(ANSWERS["expired_token"].body):
        assert isinstance(BedrockStability().failure(HttpResponse(403, {}, body)), GatewayError)
