"""OpenAI's edits and servers compatible with it: the whole request, the answer, and the errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from exchange_driver import drive
from provider_case import RESULTS, SOURCE
from vendor_answers import answers

from service.catalog import catalog
from service.catalog.profile import Profile
from service.core.calls import CallResult, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import ImageFormat, Size, Usage
from service.providers.base import Credential, Endpoint
from service.providers.http import FormBody, FormFile, HttpRequest, HttpResponse, SignableRequest
from service.providers.openai_edits import OpenAIEdits

ANSWERS = answers("openai")
FIXTURES = Path(__file__).parents[2] / "fixtures" / "openai"
ENDPOINT = Endpoint("openai", "https://openai.test/v1", options=catalog.load()["openai"].options)


def asked(call: ProviderCall, endpoint: Endpoint = ENDPOINT) -> HttpRequest:
    return drive(OpenAIEdits().vary(call, Profile(), endpoint), ()).requests[0]


def fields(call: ProviderCall, endpoint: Endpoint = ENDPOINT) -> list[tuple[str, str]]:
    body = asked(call, endpoint).body
    assert isinstance(body, FormBody)
    return list(body.fields)


def made(name: str, n: int = 2) -> CallResult:
    call = ProviderCall("gpt-image-2", SOURCE, n=n, prompt="Vary it.")
    return drive(OpenAIEdits().vary(call, Profile(), ENDPOINT), [ANSWERS[name]]).finished


def recorded(name: str) -> HttpResponse:
    entry = json.loads((FIXTURES / name).read_text(encoding="utf-8-sig"))["Entries"][0]
    return HttpResponse(entry["StatusCode"], {}, json.dumps(entry["ResponseBody"]).encode())


def test_the_whole_request() -> None:
    call = ProviderCall(
        "gpt-image-2",
        SOURCE,
        n=2,
        size=Size(1536, 1024),
        prompt="Vary it.",
        quality="high",
        background="opaque",
        output_format=ImageFormat.WEBP,
        user="user-7",
        options={"output_compression": 80, "input_fidelity": "low"},
    )
    assert asked(call) == HttpRequest(
        "POST",
        "https://openai.test/v1/images/edits",
        headers={"accept": "application/json"},
        body=FormBody(
            (
                ("prompt", "Vary it."),
                ("model", "gpt-image-2"),
                ("n", "2"),
                ("size", "1536x1024"),
                ("quality", "high"),
                ("background", "opaque"),
                ("output_format", "webp"),
                ("safety_identifier", "user-7"),
                ("output_compression", "80"),
                ("input_fidelity", "low"),
            ),
            (FormFile("image", "image.png", "image/png", SOURCE.data),),
        ),
    )


def test_what_the_caller_left_open_is_not_sent() -> None:
    assert fields(ProviderCall("gpt-image-2", SOURCE, prompt="Vary it.")) == [
        ("prompt", "Vary it."),
        ("model", "gpt-image-2"),
        ("n", "1"),
    ]


def test_openai_is_never_sent_a_response_format_or_a_seed() -> None:
    names = {name for name, _ in fields(ProviderCall("gpt-image-2", SOURCE, prompt="Vary it.", seed=7))}
    assert not names & {"response_format", "seed"}


def test_compatible_servers_differ_by_options_alone() -> None:
    endpoint = Endpoint(
        "mine",
        "http://127.0.0.1:8091/v1",
        options={"response_format": "b64_json", "image_field": "image[]", "seed_field": "seed", "user_field": "user"},
    )
    call = ProviderCall("m", SOURCE, prompt="Vary it.", seed=0, user="user-7")
    assert fields(call, endpoint)[3:] == [("response_format", "b64_json"), ("user", "user-7"), ("seed", "0")]
    body = asked(call, endpoint).body
    assert isinstance(body, FormBody)
    assert body.files[0].name == "image[]"


def test_a_long_user_id_is_sent_as_its_digest() -> None:
    (sent,) = (
        value for name, value in fields(ProviderCall("m", SOURCE, prompt="p", user="é" * 129)) if "safety" in name
    )
    assert len(sent) == 64
    assert fields(ProviderCall("m", SOURCE, prompt="p", user="u" * 128))[-1] == ("safety_identifier", "u" * 128)


def test_other_servers_take_a_user_id_of_64_characters() -> None:
    endpoint = Endpoint("mine", "http://127.0.0.1:8091/v1", options={"user_field": "user"})
    assert len(dict(fields(ProviderCall("m", SOURCE, prompt="p", user="u" * 65), endpoint))["user"]) == 64


@pytest.mark.parametrize(
    ("asked_for", "sent"), [("hd", "high"), ("standard", "medium"), ("xhigh", "xhigh"), ("auto", "auto")]
)
def test_qualities_of_older_models_are_said_in_todays_words(asked_for: str, sent: str) -> None:
    assert ("quality", sent) in fields(ProviderCall("gpt-image-2", SOURCE, prompt="p", quality=asked_for))


@pytest.mark.parametrize("options", [{"stream": True}, {"partial_images": 2}])
def test_a_streamed_answer_cannot_be_asked_for(options: dict[str, object]) -> None:
    with pytest.raises(GatewayError) as caught:
        asked(ProviderCall("gpt-image-2", SOURCE, prompt="Vary it.", options=options))
    assert (caught.value.kind, caught.value.param) == (ErrorKind.INVALID_REQUEST, "provider_options")
    assert not caught.value.may_have_run


def test_a_recorded_answer_is_read_with_its_usage() -> None:
    call = ProviderCall("gpt-image-1", SOURCE, n=2, prompt="A big cat.")
    result = drive(OpenAIEdits().vary(call, Profile(), ENDPOINT), [recorded("image_edits_n2.json")]).finished
    assert [image.data[:4] for image in result.images] == [b"\x89PNG", b"\x89PNG"]
    assert result.usage == Usage(478, 8320, 8798, 388, 90, 8320, 0)
    assert (result.quality, result.background, result.cost_usd, result.warnings) == ("high", "opaque", None, ())


def test_urls_and_data_urls_are_read() -> None:
    linked, inline = made("by_url").images
    assert (linked.url, linked.revised_prompt, linked.data) == ("https://files.test/1.png", "a cat", b"")
    assert (inline.url, inline.data) == ("", RESULTS[1])


def test_an_unusable_image_of_several_is_left_out_with_a_warning() -> None:
    result = made("one_unusable")
    assert [image.data for image in result.images] == [RESULTS[0]]
    assert len(result.warnings) == 1


def test_more_images_than_asked_for_are_dropped_with_a_warning() -> None:
    result = made("more_than_asked", n=2)
    assert [image.data for image in result.images] == [RESULTS[0], RESULTS[1]]
    assert "3" in result.warnings[0]


@pytest.mark.parametrize("usage", [{"input_tokens": -1}, {"input_tokens": True}, {"input_tokens": 10**12}, [], "7", {}])
def test_a_senseless_usage_counts_as_none(usage: object) -> None:
    body = json.dumps({"data": [{"b64_json": "aGVsbG8="}], "usage": usage}).encode()
    call = ProviderCall("m", SOURCE, prompt="Vary it.")
    result = drive(OpenAIEdits().vary(call, Profile(), ENDPOINT), [HttpResponse(200, {}, body)]).finished
    assert result.usage is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("moderation_blocked", ErrorKind.CONTENT_REJECTED),
        ("rate_limited", ErrorKind.RATE_LIMITED),
        ("insufficient_quota", ErrorKind.UPSTREAM_AUTH),
        ("billing_limit", ErrorKind.UPSTREAM_AUTH),
        ("unknown_model", ErrorKind.MODEL_GONE),
        ("server_error", ErrorKind.UNAVAILABLE),
        ("overloaded", ErrorKind.UNAVAILABLE),
        ("wrong_size", ErrorKind.UNSUPPORTED),
        ("vllm_invalid", ErrorKind.UNSUPPORTED),
        ("fastapi_invalid", ErrorKind.UNSUPPORTED),
        ("sdcpp_error", ErrorKind.UNAVAILABLE),
        ("plain_error", ErrorKind.UNSUPPORTED),
    ],
)
def test_errors_are_told_apart(name: str, kind: ErrorKind) -> None:
    failure = OpenAIEdits().failure(ANSWERS[name])
    assert failure.kind is kind
    assert failure.message.startswith(f"The provider answered {ANSWERS[name].status}: ")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vllm_invalid", "Invalid size format: '1024x'."),
        ("fastapi_invalid", "body.image: Field required"),
        ("plain_error", "prompt required"),
        ("sdcpp_error", "bad allocation"),
    ],
)
def test_compatible_servers_are_quoted_in_whatever_shape_they_complain(name: str, words: str) -> None:
    assert words in OpenAIEdits().failure(ANSWERS[name]).message


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (400, "NSFW content detected", ErrorKind.CONTENT_REJECTED),
        (422, "The prompt violates our content policy.", ErrorKind.CONTENT_REJECTED),
        (400, "Unknown parameter: 'moderation'.", ErrorKind.UNSUPPORTED),
        (500, "The safety system is down", ErrorKind.UNAVAILABLE),
    ],
)
def test_refusals_without_a_code_are_known_by_their_words(status: int, said: str, kind: ErrorKind) -> None:
    body = json.dumps({"error": {"message": said}}).encode()
    assert OpenAIEdits().failure(HttpResponse(status, {}, body)).kind is kind


def test_a_recorded_wrong_key() -> None:
    failure = OpenAIEdits().failure(recorded("invalid_api_key.json"))
    assert failure.kind is ErrorKind.UPSTREAM_AUTH
    assert "Incorrect API key provided" in failure.message


def test_the_key_is_a_bearer_token_and_self_hosted_servers_need_none() -> None:
    request = SignableRequest("POST", "https://openai.test/v1/images/edits", {}, b"")
    now = datetime(2026, 11, 22, tzinfo=UTC)
    authorization = OpenAIEdits().authorization
    assert authorization(request, Credential("main", "sk-1"), ENDPOINT, now) == {"authorization": "Bearer sk-1"}
    assert authorization(request, Credential("none"), ENDPOINT, now) == {}
