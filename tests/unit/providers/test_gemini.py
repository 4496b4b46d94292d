"""Gemini API and Vertex AI: the whole request, the answer, refusals and errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from exchange_driver import drive
from hostile_json import corrupted_bodies
from provider_case import RESULTS, SOURCE
from vendor_answers import answers

from service.catalog.profile import Profile
from service.core.calls import ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import ImageFormat, Size, Usage
from service.providers import wire
from service.providers.base import Credential, Endpoint
from service.providers.gemini import GeminiImages, VertexImages
from service.providers.http import HttpRequest, HttpResponse, JsonBody, SignableRequest

ANSWERS = answers("gemini")
FIXTURES = Path(__file__).parents[2] / "fixtures" / "gemini"
GEMINI = Endpoint("gemini", "https://generativelanguage.test/v1beta")
VERTEX = Endpoint("vertex", "https://aiplatform.test/v1beta1", options={"project": "a-project", "location": "global"})
CALL = ProviderCall("gemini-3.1-flash-image", SOURCE, prompt="Vary it.")
SIGNABLE = SignableRequest("POST", "https://generativelanguage.test/v1beta", {}, b"")
SOURCE_PART = {"inlineData": {"mimeType": "image/png", "data": wire.base64_text(SOURCE.data)}}


def asked(call: ProviderCall, translator: GeminiImages | None = None, endpoint: Endpoint = GEMINI) -> HttpRequest:
    requests = drive((translator or GeminiImages()).vary(call, Profile(), endpoint), [ANSWERS["success"]]).requests
    return requests[0]


def config_of(request: HttpRequest) -> Mapping[str, object]:
    assert isinstance(request.body, JsonBody)
    config: Mapping[str, object] = request.body.value["generationConfig"]
    return config


def test_the_whole_request_to_the_gemini_api() -> None:
    assert asked(CALL) == HttpRequest(
        "POST",
        "https://generativelanguage.test/v1beta/models/gemini-3.1-flash-image:generateContent",
        body=JsonBody(
            {
                "contents": [{"role": "user", "parts": [SOURCE_PART, {"text": "Vary it."}]}],
                "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]},
            }
        ),
    )


def test_the_whole_request_to_vertex() -> None:
    call = ProviderCall("gemini-2.5-flash-image", SOURCE, prompt="Vary it.", output_format=ImageFormat.JPEG)
    assert asked(call, VertexImages(), VERTEX) == HttpRequest(
        "POST",
        "https://aiplatform.test/v1beta1/projects/a-project/locations/global"
        "/publishers/google/models/gemini-2.5-flash-image:generateContent",
        body=JsonBody(
            {
                "contents": [{"role": "user", "parts": [SOURCE_PART, {"text": "Vary it."}]}],
                "generationConfig": {
                    "responseModalities": ["TEXT", "IMAGE"],
                    "imageConfig": {"imageOutputOptions": {"mimeType": "image/jpeg"}},
                },
            }
        ),
    )


def test_the_recorded_request_differs_from_ours_only_in_what_was_asked() -> None:
    recorded = json.loads((FIXTURES / "vertex_recorded.json").read_text())["request"]
    endpoint = Endpoint("vertex", "https://aiplatform.googleapis.com/v1beta1", options={"project": "pydantic-ai"})
    call = ProviderCall(
        "gemini-2.5-flash-image",
        SOURCE,
        prompt="Generate an image of an axolotl.",
        output_format=ImageFormat.JPEG,
        options={"generationConfig": {"imageConfig": {"imageOutputOptions": {"compressionQuality": 85}}}},
    )
    ours = asked(call, VertexImages(), endpoint)
    assert (ours.method, ours.url) == (recorded["method"], recorded["url"])
    assert isinstance(ours.body, JsonBody)
    assert ours.body.value["contents"][0]["parts"].pop(0) == SOURCE_PART
    assert ours.body.value == recorded["body"]


def test_a_project_is_needed_on_vertex() -> None:
    endpoint = Endpoint("vertex", "https://aiplatform.test", options={"project": ""})
    with pytest.raises(GatewayError, match="'project'") as caught:
        drive(VertexImages().vary(CALL, Profile(), endpoint), [])
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    assert not caught.value.may_have_run


@pytest.mark.parametrize("model", ["..", "../../../other", "other?key=1#"])
def test_a_name_cannot_leave_its_place_in_the_path(model: str) -> None:
    with pytest.raises(GatewayError) as caught:
        asked(ProviderCall(model, SOURCE, prompt="Vary it."))
    assert caught.value.kind is ErrorKind.MODEL_GONE


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (Size(1024, 1024), {"aspectRatio": "1:1"}),
        (Size(1376, 768), {"aspectRatio": "16:9"}),
        (Size(1584, 672), {"aspectRatio": "21:9"}),
        (Size(928, 1152), {"aspectRatio": "4:5"}),
        (Size(2048, 2048), {"aspectRatio": "1:1", "imageSize": "2K"}),
        (Size(3168, 1344), {"aspectRatio": "21:9", "imageSize": "2K"}),
        (Size(4096, 4096), {"aspectRatio": "1:1", "imageSize": "4K"}),
    ],
)
def test_a_size_becomes_a_ratio_and_a_tier(size: Size, expected: Mapping[str, str]) -> None:
    call = ProviderCall("gemini-3-pro-image", SOURCE, size=size, prompt="Vary it.")
    assert config_of(asked(call))["imageConfig"] == expected


def test_options_are_merged_object_by_object() -> None:
    call = ProviderCall(
        "m", SOURCE, size=Size(64, 64), prompt="p", options={"generationConfig": {"temperature": 0.5, "topK": 3}}
    )
    assert config_of(asked(call)) == {
        "responseModalities": ["TEXT", "IMAGE"],
        "imageConfig": {"aspectRatio": "1:1"},
        "temperature": 0.5,
        "topK": 3,
    }


@pytest.mark.parametrize("name", ["contents", "systemInstruction", "cachedContent", "tools"])
def test_options_cannot_reach_files_and_caches_of_the_operator(name: str) -> None:
    call = ProviderCall("m", SOURCE, prompt="p", options={name: {"fileData": {"fileUri": "gs://private/x.png"}}})
    with pytest.raises(GatewayError) as caught:
        drive(GeminiImages().vary(call, Profile(), GEMINI), [])
    assert (caught.value.kind, caught.value.param) == (ErrorKind.INVALID_REQUEST, "provider_options")


def test_credentials_are_headers() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    credential = Credential("main", "the-key")
    assert GeminiImages().authorization(SIGNABLE, credential, GEMINI, now) == {"x-goog-api-key": "the-key"}
    assert VertexImages().authorization(SIGNABLE, credential, VERTEX, now) == {"authorization": "Bearer the-key"}


def test_the_image_is_found_behind_words_and_usage_is_counted() -> None:
    result = drive(GeminiImages().vary(CALL, Profile(), GEMINI), [ANSWERS["success"]]).finished
    assert result.images == (ProducedImage(data=RESULTS[0]),)
    assert result.deployment == "gemini-3.1-flash-image"
    assert result.usage == Usage(
        input_tokens=269,
        output_tokens=1290,
        total_tokens=1559,
        input_image_tokens=258,
        input_text_tokens=11,
        output_image_tokens=1290,
        output_text_tokens=0,
    )


def test_drafts_of_a_thinking_model_are_not_results_but_its_thoughts_are_billed() -> None:
    result = drive(GeminiImages().vary(CALL, Profile(), GEMINI), [ANSWERS["thinking"]]).finished
    assert result.images == (ProducedImage(data=RESULTS[0]),)
    assert result.usage is not None
    assert (result.usage.output_tokens, result.usage.output_text_tokens) == (1390, 100)


def test_the_recorded_answer_is_understood() -> None:
    recorded = json.loads((FIXTURES / "vertex_recorded.json").read_text())["response"]
    response = HttpResponse(200, recorded["headers"], json.dumps(recorded["body"]).encode())
    result = drive(VertexImages().vary(CALL, Profile(), VERTEX), [response]).finished
    assert result.images[0].data.startswith(b"\xff\xd8\xff")
    assert result.usage is not None
    assert (result.usage.input_text_tokens, result.usage.output_image_tokens) == (9, 1290)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ("prompt_blocked", ErrorKind.CONTENT_REJECTED, "PROHIBITED_CONTENT. The prompt was blocked."),
        ("image_refused", ErrorKind.CONTENT_REJECTED, "IMAGE_SAFETY. Unable to show the generated image."),
        ("no_image", ErrorKind.BAD_RESPONSE, "no image"),
        ("only_words", ErrorKind.BAD_RESPONSE, "I can only describe this picture."),
        ("no_candidates", ErrorKind.BAD_RESPONSE, "no image"),
    ],
)
def test_a_success_without_an_image_is_none(answer: str, kind: ErrorKind, words: str) -> None:
    with pytest.raises(GatewayError, match=words) as caught:
        drive(GeminiImages().vary(CALL, Profile(), GEMINI), [ANSWERS[answer]])
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("answer", "kind", "retry_after_s", "may_have_run"),
    [
        ("bad_key", ErrorKind.UPSTREAM_AUTH, None, False),
        ("wrapped_in_a_list", ErrorKind.UPSTREAM_AUTH, None, False),
        ("bad_token", ErrorKind.UPSTREAM_AUTH, None, False),
        ("no_billing", ErrorKind.UPSTREAM_AUTH, None, False),
        ("forbidden", ErrorKind.UPSTREAM_AUTH, None, False),
        ("invalid", ErrorKind.UNSUPPORTED, None, False),
        ("unknown_model", ErrorKind.MODEL_GONE, None, False),
        ("rate_limited", ErrorKind.RATE_LIMITED, None, False),
        ("rate_limited_with_hint", ErrorKind.RATE_LIMITED, 34.0, False),
        ("overloaded", ErrorKind.UNAVAILABLE, None, True),
        ("deadline", ErrorKind.TIMEOUT, None, True),
    ],
)
def test_errors_say_whose_fault_it_is(
    answer: str, kind: ErrorKind, retry_after_s: float | None, may_have_run: bool
) -> None:
    failure = GeminiImages().failure(ANSWERS[answer])
    assert (failure.kind, failure.retry_after_s, failure.may_have_run) == (kind, retry_after_s, may_have_run)
    assert failure.upstream_status == ANSWERS[answer].status


@pytest.mark.parametrize("answer", ["success", "thinking", "prompt_blocked", "image_refused"])
def test_no_answer_breaks_the_translator(answer: str) -> None:
    for body in corrupted_bodies(ANSWERS[answer].body):
        with suppress(GatewayError):
            drive(GeminiImages().vary(CALL, Profile(), GEMINI), [HttpResponse(200, {}, body)])


@pytest.mark.parametrize("answer", ["bad_key", "rate_limited_with_hint", "wrapped_in_a_list"])
def test_no_error_body_breaks_the_translator(answer: str) -> None:
    for body in corrupted_bodies(ANSWERS[answer].body):
        response = HttpResponse(ANSWERS[answer].status, {}, body)
        assert isinstance(GeminiImages().failure(response), GatewayError)
