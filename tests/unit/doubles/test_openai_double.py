"""The OpenAI double is used by OpenAI's own client here: it must take what the service takes, and nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from PIL import Image
from provider_case import png

from tests.doubles import openai as openai_double
from tests.doubles.server import DoublesServer

PICTURE = ("image.png", png(300, 200), "image/png")
GOOD: dict[str, Any] = {"image": PICTURE, "prompt": "Vary it.", "model": "gpt-image-2", "n": 2, "size": "1536x1024"}


@pytest.fixture(scope="module")
def server() -> Iterator[DoublesServer]:
    with DoublesServer(openai_double.DOUBLES) as running:
        yield running


@pytest.fixture
def client(server: DoublesServer) -> Iterator[openai.OpenAI]:
    server.state.reset()
    with openai.OpenAI(base_url=server.base_url("openai"), api_key="double-key-one-of-openai", max_retries=0) as made:
        yield made


def test_it_makes_different_images_with_usage(client: openai.OpenAI) -> None:
    answer = client.images.edit(**GOOD, output_format="webp", quality="high", background="transparent")
    assert answer.data is not None
    assert answer.usage is not None
    files = [base64.b64decode(image.b64_json or "") for image in answer.data]
    assert len(set(files)) == 2
    for file in files:
        with Image.open(io.BytesIO(file)) as image:
            assert (image.size, image.format) == ((1536, 1024), "WEBP")
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert (answer.quality, answer.background, answer.output_format) == ("high", "transparent", "webp")


@pytest.mark.parametrize(
    ("wrong", "param", "code"),
    [
        ({"response_format": "b64_json"}, "response_format", "unknown_parameter"),
        ({"extra_body": {"seed": 7}}, "seed", "unknown_parameter"),
        ({"prompt": ""}, "prompt", "invalid_value"),
        ({"n": 11}, "n", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"size": "512x512"}, "size", "invalid_value"),
        ({"size": "1000x1000"}, "size", "invalid_value"),
        ({"size": "4096x1024"}, "size", "invalid_value"),
        ({"model": "dall-e-2"}, "model", "model_not_found"),
        ({"quality": "hd"}, "quality", "invalid_value"),
        ({"background": "transparent", "output_format": "jpeg"}, "background", None),
        ({"image": ("image.gif", b"GIF89a", "image/gif")}, "image", "unsupported_file_mimetype"),
        ({"image": ("image.png", b"no picture", "image/png")}, "image", "invalid_image_file"),
    ],
)
def test_it_refuses_what_the_service_refuses(
    wrong: dict[str, Any], param: str, code: str | None, client: openai.OpenAI
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(**{**GOOD, **wrong})
    assert (caught.value.param, caught.value.code) == (param, code)


def test_its_errors_are_those_the_client_knows(server: DoublesServer, client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as wrong_key:
        client.with_options(api_key="sk-of-nobody").images.edit(**GOOD)
    assert wrong_key.value.code == "invalid_api_key"
    server.state.fail("openai", "rate_limited", hint="retry-after", seconds=3, times=1)
    with pytest.raises(openai.RateLimitError) as limited:
        client.images.edit(**GOOD)
    assert limited.value.response.headers["retry-after"] == "3"
    server.state.fail("openai", "refusal", times=1)
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(**GOOD)
    assert refused.value.code == "moderation_blocked"


def test_variations_are_retired(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError), pytest.deprecated_call():
        client.images.create_variation(image=PICTURE)


def test_azures_deployments_need_a_version_and_a_name_that_exists(server: DoublesServer) -> None:
    options: dict[str, Any] = {"api_key": "double-key-one-of-azure", "max_retries": 0}
    endpoint = server.base_url("azure")
    with openai.AzureOpenAI(azure_endpoint=endpoint, api_version="2025-04-01-preview", **options) as client:
        answer = client.images.edit(**GOOD)
        assert len(answer.data or ()) == 2
        with pytest.raises(openai.NotFoundError) as missing:
            client.images.edit(**{**GOOD, "model": "another"})
    assert missing.value.code == "DeploymentNotFound"
    with (
        openai.AzureOpenAI(azure_endpoint=endpoint, api_version="latest", **options) as client,
        pytest.raises(openai.NotFoundError),
    ):
        client.images.edit(**GOOD)
