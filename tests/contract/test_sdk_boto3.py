"""Amazon's own client makes the same calls as our translator, with an API key and with access keys."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from provider_case import RESULTS_BASE64, SOURCE
from recording_server import RecordedRequest, RecordingServer
from vendor_answers import answers
from whole_body import whole

from service.catalog.profile import Profile
from service.core.calls import ProviderCall
from service.core.values import ImageFormat
from service.providers import wire
from service.providers.base import Credential, Endpoint
from service.providers.bedrock import BedrockStability
from service.providers.http import SignableRequest
from service.transport.encoding import encode_body
from tests.doubles.sigv4 import parse_authorization

ANSWER = answers("bedrock")["success"]
URL = "https://bedrock-runtime.us-west-2.amazonaws.com"
MODEL = "stability.sd3-5-large-v1:0"
CALL = ProviderCall(MODEL, SOURCE, prompt="", strength=0.4, seed=7, output_format=ImageFormat.PNG)
PARTS = {
    "access_key_id": "AKIDEXAMPLE",
    "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "session_token": "the-session",
}
NOW = datetime(2026, 11, 22, 20, 30, 15, tzinfo=UTC)

# Headers that the SDK sends and we do not, and why; the headers of any connection are not compared.
NOT_SENT = {
    "user-agent": "Says which client it is: ours is not Amazon's.",
    "x-amz-user-agent": "The same.",
    "amz-sdk-invocation-id": "Counts the SDK's own retries; Bedrock makes nothing of it.",
    "amz-sdk-request": "The same.",
}
OF_THE_CONNECTION = {"host", "accept-encoding", "connection", "content-length", "expect"}


@pytest.fixture(autouse=True)
def no_configuration_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def ours(endpoint: Endpoint, credential: Credential) -> SignableRequest:
    request = next(BedrockStability().vary(CALL, Profile(), endpoint))
    assert request.body is not None
    encoded = encode_body(request.body)
    headers = {**request.headers, "content-type": encoded.content_type}
    # Signed as it goes over the wire: Amazon's client writes its JSON with other spaces, which changes the hash.
    unsigned = SignableRequest(request.method, request.url, headers, encoded.content)
    authorization = BedrockStability().authorization(unsigned, credential, endpoint, NOW)
    return SignableRequest(request.method, request.url, {**headers, **authorization}, encoded.content)


def invoke(server: RecordingServer, body: bytes, **credentials: str) -> Mapping[str, Any]:
    client = boto3.client(
        "bedrock-runtime",
        region_name="us-west-2",
        endpoint_url=server.url,
        config=Config(retries={"total_max_attempts": 1}),
        **credentials,
    )
    answer = client.invoke_model(modelId=MODEL, accept="application/json", contentType="application/json", body=body)
    parsed: Mapping[str, Any] = json.loads(answer["body"].read())
    client.close()
    return parsed


def sdk_body() -> bytes:
    """What Amazon's documentation has people send for image-to-image."""
    return json.dumps(
        {
            "mode": "image-to-image",
            "image": wire.base64_text(SOURCE.data),
            "strength": 0.4,
            "prompt": "",
            "seed": 7,
            "output_format": "png",
        }
    ).encode()


def assert_same(sdk: RecordedRequest, request: SignableRequest, url: str) -> None:
    assert (sdk.method, url + sdk.target) == (request.method, request.url)
    assert json.loads(sdk.body) == json.loads(whole(request.body))
    compared = {name: value for name, value in sdk.headers.items() if name not in OF_THE_CONNECTION}
    assert {name: value for name, value in compared.items() if name not in NOT_SENT} == dict(request.headers)


def test_with_an_api_key_it_is_asked_as_by_amazons_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "the-key")
    client = boto3.client("bedrock-runtime", region_name="us-west-2")
    sent: list[RecordedRequest] = []

    def recorded(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        # Amazon's client sends a bearer token by https only, which the server of these tests does not speak.
        assert request.url.startswith(URL)
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        sent.append(RecordedRequest(request.method, request.url.removeprefix(URL), headers, request.body))
        return AWSResponse(request.url, ANSWER.status, ANSWER.headers, _Raw(ANSWER.body))

    client.meta.events.register("before-send.bedrock-runtime.InvokeModel", recorded)
    client.invoke_model(modelId=MODEL, accept="application/json", contentType="application/json", body=sdk_body())
    client.close()
    assert_same(sent[0], ours(Endpoint("bedrock", URL), Credential("main", "the-key")), URL)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


class _Raw(io.BytesIO):
    """The part of urllib3's response that botocore reads."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


@pytest.mark.parametrize("session_token", [True, False])
def test_with_access_keys_the_signature_is_that_of_amazons_client(
    session_token: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: NOW.replace(tzinfo=None))
    parts = {name: value for name, value in PARTS.items() if session_token or name != "session_token"}
    with RecordingServer(ANSWER) as server:
        endpoint = Endpoint("bedrock", server.url, options={"region": "us-west-2"})
        request = ours(endpoint, Credential("main", parts=parts))
        # The same bytes, since it is the bytes that are signed.
        names = {"access_key_id": "aws_access_key_id", "secret_access_key": "aws_secret_access_key"}
        answer = invoke(
            server, whole(request.body), **{names.get(name, f"aws_{name}"): value for name, value in parts.items()}
        )
    sdk = server.requests[0]
    assert answer["images"] == [RESULTS_BASE64[0]]
    assert_same(sdk, request, server.url)
    signed = parse_authorization(sdk.headers["authorization"])["SignedHeaders"].split(";")
    assert {"accept", "content-type", "host", "x-amz-date"} <= set(signed)
