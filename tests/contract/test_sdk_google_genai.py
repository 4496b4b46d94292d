"""Google's own client makes the same calls as our translator, to the Gemini API and to Vertex AI."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials
from provider_case import RESULTS, SOURCE
from recording_server import RecordedRequest, RecordingServer
from vendor_answers import answers
from whole_body import whole

from service.catalog.profile import Profile
from service.core.calls import ProviderCall
from service.core.values import ImageFormat, Size
from service.providers.base import Credential, Endpoint, Translator
from service.providers.gemini import GeminiImages, VertexImages
from service.providers.http import SignableRequest
from service.transport.encoding import encode_body

ANSWER = answers("gemini")["success"]
SECRET = "the-key"
MODEL = "gemini-3-pro-image"

# Headers that the SDK sends and we do not, and why; the headers of any connection are not compared.
NOT_SENT = {
    "user-agent": "Says which client it is: ours is not Google's.",
    "x-goog-api-client": "The same, for Google's statistics.",
}
OF_THE_CONNECTION = {"host", "accept", "accept-encoding", "connection", "content-length"}


def ours(translator: Translator, endpoint: Endpoint, call: ProviderCall) -> SignableRequest:
    request = next(translator.vary(call, Profile(), endpoint))
    assert request.body is not None
    encoded = encode_body(request.body)
    unsigned = SignableRequest(request.method, request.url, {"content-type": encoded.content_type}, encoded.content)
    now = datetime(2026, 11, 22, tzinfo=UTC)
    headers = translator.authorization(unsigned, Credential("main", SECRET), endpoint, now)
    return SignableRequest(request.method, request.url, {**unsigned.headers, **headers}, encoded.content)


def canonical(value: Any) -> Any:
    """JSON in one of the spellings that Google's parsers take.

    Its client writes ``mime_type`` next to ``inlineData``, and base64 in the alphabet for URLs.
    """
    if isinstance(value, dict):
        plain = {re.sub(r"_(.)", lambda found: found[1].upper(), name): canonical(each) for name, each in value.items()}
        if isinstance(plain.get("data"), str):
            plain["data"] = plain["data"].replace("-", "+").replace("_", "/")
        return plain
    return [canonical(each) for each in value] if isinstance(value, list) else value


def assert_same(sdk: RecordedRequest, request: SignableRequest, url: str) -> None:
    assert (sdk.method, url + sdk.target) == (request.method, request.url)
    assert canonical(json.loads(sdk.body)) == canonical(json.loads(whole(request.body)))
    compared = {name: value for name, value in sdk.headers.items() if name not in OF_THE_CONNECTION}
    assert {name: value for name, value in compared.items() if name not in NOT_SENT} == dict(request.headers)
    assert set(compared) - set(request.headers) == set(NOT_SENT)


@pytest.mark.parametrize(
    ("size", "asked"),
    [
        (None, None),
        (Size(1376, 768), types.ImageConfig(aspect_ratio="16:9")),
        (Size(2048, 2048), types.ImageConfig(aspect_ratio="1:1", image_size="2K")),
    ],
)
def test_the_gemini_api_is_asked_as_by_googles_client(size: Size | None, asked: types.ImageConfig | None) -> None:
    with RecordingServer(ANSWER) as server:
        client = genai.Client(
            api_key=SECRET, vertexai=False, http_options=types.HttpOptions(base_url=server.url, api_version="v1beta")
        )
        answer = generate(client, {"response_modalities": ["TEXT", "IMAGE"], "image_config": asked})
    endpoint = Endpoint("gemini", f"{server.url}/v1beta")
    call = ProviderCall(MODEL, SOURCE, size=size, prompt="Vary it.")
    assert_same(server.requests[0], ours(GeminiImages(), endpoint, call), server.url)
    assert answer == RESULTS[0]


def test_vertex_is_asked_as_by_googles_client() -> None:
    with RecordingServer(ANSWER) as server:
        client = genai.Client(
            vertexai=True,
            project="a-project",
            location="global",
            credentials=Credentials(SECRET),
            http_options=types.HttpOptions(base_url=server.url, api_version="v1beta1"),
        )
        output = types.ImageConfigImageOutputOptions(mime_type="image/png")
        config = types.ImageConfig(aspect_ratio="1:1", image_output_options=output)
        generate(client, {"response_modalities": ["TEXT", "IMAGE"], "image_config": config})
    endpoint = Endpoint("vertex", f"{server.url}/v1beta1", options={"project": "a-project", "location": "global"})
    call = ProviderCall(MODEL, SOURCE, size=Size(1024, 1024), prompt="Vary it.", output_format=ImageFormat.PNG)
    assert_same(server.requests[0], ours(VertexImages(), endpoint, call), server.url)


def generate(client: genai.Client, config: Mapping[str, Any]) -> bytes:
    """The first image that the SDK finds in the answer."""
    contents = [types.Part.from_bytes(data=SOURCE.data, mime_type="image/png"), types.Part.from_text(text="Vary it.")]
    response = client.models.generate_content(
        model=MODEL,
        contents=[types.Content(role="user", parts=contents)],
        config=types.GenerateContentConfig(**config),
    )
    client.close()
    blobs = [part.inline_data for part in response.parts or () if part.inline_data is not None]
    return blobs[0].data or b""
