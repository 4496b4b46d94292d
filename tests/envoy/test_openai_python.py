"""The unmodified OpenAI SDK for Python, sync and async, against the gateway."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator, Iterator
from typing import Literal

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import ImagesResponse
from PIL import Image
from running_gateway import RunningGateway

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")


@pytest.fixture(params=[False, True], ids=["loose", "strict"])
def sdk(request: pytest.FixtureRequest, gateway: RunningGateway) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=f"{gateway.url}/v1",
        api_key="My API Key",
        max_retries=0,
        _strict_response_validation=request.param,
    ) as client:
        yield client


@pytest.fixture(params=[False, True], ids=["loose", "strict"])
async def async_sdk(request: pytest.FixtureRequest, gateway: RunningGateway) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=f"{gateway.url}/v1",
        api_key="My API Key",
        max_retries=0,
        _strict_response_validation=request.param,
    ) as client:
        yield client


def pictures(answer: ImagesResponse) -> list[Image.Image]:
    assert answer.data
    return [Image.open(io.BytesIO(base64.b64decode(each.b64_json or ""))) for each in answer.data]


def test_nothing_but_an_image(sdk: OpenAI, small_png: bytes) -> None:
    answer = sdk.images.create_variation(image=small_png)
    assert answer.data
    assert answer.data[0].url
    assert answer.created > 1_700_000_000


def test_every_parameter(sdk: OpenAI, small_png: bytes) -> None:
    answer = sdk.images.create_variation(
        image=small_png, model="gpt-image-1.5", n=1, response_format="url", size="256x256", user="user-1234"
    )
    assert answer.data
    assert Image.open(io.BytesIO(httpx.get(answer.data[0].url or "").content)).size == (256, 256)


@pytest.mark.parametrize(("n", "size"), [(1, "256x256"), (1, "512x512"), (1, "1024x1024"), (10, "256x256")])
def test_n_images_of_each_size_inline(
    gateway: RunningGateway, small_png: bytes, n: int, size: Literal["256x256", "512x512", "1024x1024"]
) -> None:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="any") as sdk:
        answer = sdk.images.create_variation(
            image=("photo.png", small_png), model="dall-e-2", n=n, size=size, response_format="b64_json"
        )
    assert ["{}x{}".format(*picture.size) for picture in pictures(answer)] == [size] * n


def test_raw_response(sdk: OpenAI, small_png: bytes) -> None:
    response = sdk.images.with_raw_response.create_variation(image=small_png, size="256x256")
    assert response.is_closed
    assert response.headers["x-provider"] == "local"
    assert isinstance(response.parse(), ImagesResponse)


def test_streaming_response(sdk: OpenAI, small_png: bytes) -> None:
    with sdk.images.with_streaming_response.create_variation(image=small_png, size="256x256") as response:
        assert not response.is_closed
        assert isinstance(response.parse(), ImagesResponse)
    assert response.is_closed


async def test_async(async_sdk: AsyncOpenAI, small_png: bytes) -> None:
    answer = await async_sdk.images.create_variation(image=small_png, n=2, size="256x256", response_format="b64_json")
    assert len(pictures(answer)) == 2


async def test_async_streaming_response(async_sdk: AsyncOpenAI, small_png: bytes) -> None:
    async with async_sdk.images.with_streaming_response.create_variation(image=small_png, size="256x256") as response:
        assert isinstance(await response.parse(), ImagesResponse)


def test_fields_beyond_the_original_api(sdk: OpenAI, small_png: bytes) -> None:
    answer = sdk.images.create_variation(
        image=small_png,
        size="256x256",
        model="local/vary",
        extra_body={
            "fallbacks": [{"provider": "local", "model": "relight"}, {"provider": "local", "model": "recompose"}],
            "seed": 3,
            "strength": 0.4,
            "provider_options": {"local": {"allow_flip": False}},
        },
    )
    assert answer.model_extra
    assert "warnings" not in answer.model_extra["extra_fields"]


def test_models_are_listed(sdk: OpenAI) -> None:
    assert "local/vary" in [model.id for model in sdk.models.list()]


def test_errors_are_typed(sdk: OpenAI, small_png: bytes) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        sdk.images.create_variation(image=small_png, n=11)
    assert (bad.value.code, bad.value.param, bad.value.type) == ("invalid_n", "n", "invalid_request_error")
    with pytest.raises(openai.BadRequestError) as damaged:
        sdk.images.create_variation(image=small_png[:100])
    assert damaged.value.code == "invalid_image"
    with pytest.raises(openai.NotFoundError) as unknown:
        sdk.images.create_variation(image=small_png, model="nobody/nothing")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.APIStatusError) as large:
        sdk.images.create_variation(image=bytes(51 * 1024 * 1024))
    assert (large.value.status_code, large.value.code) == (413, "request_too_large")
    with pytest.raises(openai.APIStatusError) as late:
        sdk.images.create_variation(
            image=small_png, n=10, size="1024x1024", extra_headers={"x-request-timeout-ms": "50"}
        )
    assert (late.value.status_code, late.value.code) == (504, "timeout")
    assert late.value.request_id
