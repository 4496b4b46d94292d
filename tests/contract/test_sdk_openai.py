"""OpenAI's own client as the judge of our wire format: both are pointed at one server and must ask the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import openai
import pytest
from exchange_driver import drive
from provider_case import CREDENTIAL, SECRET, SOURCE, answer
from recording_server import RecordedRequest, RecordingServer, form_parts
from whole_body import whole

from service.catalog.profile import Profile
from service.core.calls import ProviderCall
from service.core.values import ImageFormat, Size
from service.providers.azure_openai import AzureOpenAI
from service.providers.base import Endpoint, Translator
from service.providers.http import SignableRequest
from service.providers.openai_edits import OpenAIEdits
from service.providers.openai_variations import OpenAIVariations
from service.transport.encoding import encode_body

ANSWER = answer({"created": 1, "data": [{"b64_json": "aGVsbG8="}]})
PICTURE = ("image.png", SOURCE.data, "image/png")

INTENDED_DIFFERENCES = {
    "user-agent": "We are not that client.",
    "x-stainless-*": "Telemetry of the client about itself.",
    "the boundary": "Chosen by chance on either side.",
    "the order of parts": "Forms are read by name.",
}

EDIT: dict[str, Any] = {
    "image": PICTURE,
    "prompt": "Vary it – gently.",
    "model": "gpt-image-2",
    "n": 2,
    "size": "1536x1024",
    "quality": "high",
    "background": "opaque",
    "output_format": "webp",
    "safety_identifier": "user-7",
    "output_compression": 80,
}
CALL = ProviderCall(
    "gpt-image-2",
    SOURCE,
    n=2,
    size=Size(1536, 1024),
    prompt="Vary it – gently.",
    quality="high",
    background="opaque",
    output_format=ImageFormat.WEBP,
    user="user-7",
    options={"output_compression": 80},
)


def sent_by_sdk(ask: Callable[[str], Any]) -> RecordedRequest:
    with RecordingServer(ANSWER) as server:
        ask(server.url)
    (request,) = server.requests
    return request


def sent_by_us(translator: Translator, call: ProviderCall, endpoint: Endpoint) -> RecordedRequest:
    """Our request as the executor would send it."""
    request = drive(translator.vary(call, Profile(), endpoint), ()).requests[0]
    assert request.body is not None
    body = encode_body(request.body)
    signable = SignableRequest(request.method, request.url, request.headers, whole(body.content))
    authorization = translator.authorization(signable, CREDENTIAL, endpoint, datetime(2026, 11, 22, tzinfo=UTC))
    headers = {**request.headers, **authorization, "content-type": body.content_type}
    return RecordedRequest(request.method, request.url.removeprefix("http://sdk.test"), headers, whole(body.content))


def assert_same(sdk: RecordedRequest, ours: RecordedRequest) -> None:
    assert (ours.method, ours.target) == (sdk.method, sdk.target)
    for name in ("accept", "authorization", "api-key"):
        assert ours.headers.get(name) == sdk.headers.get(name), name
    assert ours.headers["content-type"].partition(";")[0] == sdk.headers["content-type"].partition(";")[0]
    parts, expected = (sorted(form_parts(each.headers["content-type"], each.body)) for each in (ours, sdk))
    assert parts == expected
    extra = set(sdk.headers) - set(ours.headers) - {"host", "content-length", "accept-encoding", "connection"}
    assert {name for name in extra if not name.startswith("x-stainless-")} <= set(INTENDED_DIFFERENCES)


def test_edits_are_asked_for_as_by_openais_client() -> None:
    def ask(url: str) -> None:
        with openai.OpenAI(base_url=f"{url}/v1", api_key=SECRET, max_retries=0) as client:
            client.images.edit(**EDIT)

    endpoint = Endpoint("openai", "http://sdk.test/v1", options={"user_field": "safety_identifier"})
    assert_same(sent_by_sdk(ask), sent_by_us(OpenAIEdits(), CALL, endpoint))


def test_several_images_are_named_as_by_openais_client() -> None:
    def ask(url: str) -> None:
        with openai.OpenAI(base_url=f"{url}/v1", api_key=SECRET, max_retries=0) as client:
            client.images.edit(**{**EDIT, "image": [PICTURE]})

    options = {"user_field": "safety_identifier", "image_field": "image[]"}
    assert_same(sent_by_sdk(ask), sent_by_us(OpenAIEdits(), CALL, Endpoint("sdcpp", "http://sdk.test/v1", (), options)))


def test_variations_are_asked_for_as_by_openais_client() -> None:
    def ask(url: str) -> None:
        with openai.OpenAI(base_url=f"{url}/v1", api_key=SECRET, max_retries=0) as client, pytest.deprecated_call():
            client.images.create_variation(
                image=PICTURE, model="dall-e-2", n=2, size="512x512", response_format="b64_json", user="user-7"
            )

    call = ProviderCall("dall-e-2", SOURCE, n=2, size=Size(512, 512), user="user-7")
    assert_same(sent_by_sdk(ask), sent_by_us(OpenAIVariations(), call, Endpoint("upstream", "http://sdk.test/v1")))


@pytest.mark.parametrize(("auth", "given"), [("api-key", "api_key"), ("bearer", "azure_ad_token")])
def test_azures_deployments_are_asked_as_by_openais_client(auth: str, given: str) -> None:
    """The deployment names the model; that the client repeats it in the form is the one difference in the body."""

    credential: dict[str, Any] = {given: SECRET}

    def ask(url: str) -> None:
        with openai.AzureOpenAI(
            azure_endpoint=url, api_version="2025-04-01-preview", max_retries=0, **credential
        ) as client:
            client.images.edit(**EDIT)

    options = {"user_field": "safety_identifier", "auth": auth, "api_version": "2025-04-01-preview"}
    ours = sent_by_us(AzureOpenAI(), CALL, Endpoint("azure", "http://sdk.test", options=options))
    sdk = sent_by_sdk(ask)
    assert (ours.method, ours.target) == (sdk.method, sdk.target)
    for name in ("authorization", "api-key"):
        assert ours.headers.get(name) == sdk.headers.get(name)
    parts, expected = (sorted(form_parts(each.headers["content-type"], each.body)) for each in (ours, sdk))
    assert [part for part in expected if part not in parts] == [("model", "", "", b"gpt-image-2")]
    assert [part for part in parts if part not in expected] == []
