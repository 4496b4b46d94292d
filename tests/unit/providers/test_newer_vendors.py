"""The whole request that each of the vendors without a test file of its own is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from exchange_driver import drive
from provider_case import BASE_URL, RESULTS_BASE64, SOURCE, answer

from service.catalog import catalog
from service.core.calls import CallResult, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import ImageFormat, Size
from service.providers import wire
from service.providers.base import Endpoint
from service.providers.http import FormBody, FormFile, HttpRequest, HttpResponse, JsonBody, Purpose
from service.providers.registry import TRANSLATORS

DATA_URL = wire.data_url(SOURCE)
BASE64 = wire.base64_text(SOURCE.data)


def converse(
    provider: str, call: ProviderCall, *answers: HttpResponse, facts: Mapping[str, Any] | None = None
) -> tuple[tuple[HttpRequest, ...], CallResult | None]:
    entry = catalog.load()[provider]
    exchange = TRANSLATORS[entry.translator].vary(
        call, catalog.profile(entry, call.model, facts or {}), Endpoint(provider, BASE_URL, options=entry.options)
    )
    driven = drive(exchange, answers)
    return driven.requests, driven.result


def asked(provider: str, call: ProviderCall, **facts: Any) -> HttpRequest:
    return converse(provider, call, facts=facts)[0][0]


def test_openrouter() -> None:
    call = ProviderCall(
        "any/model", SOURCE, prompt="Vary it.", size=Size(1376, 768), quality="hd", background="opaque",
        output_format=ImageFormat.WEBP, seed=7, user="u", options={"output_compression": 80},
    )  # fmt: skip
    assert asked("openrouter", call, size_field="aspect_ratio+resolution") == HttpRequest(
        "POST",
        f"{BASE_URL}/images",
        body=JsonBody(
            {
                "model": "any/model",
                "prompt": "Vary it.",
                "input_references": [{"type": "image_url", "image_url": {"url": DATA_URL}}],
                "aspect_ratio": "16:9",
                "resolution": "1K",
                "quality": "high",
                "background": "opaque",
                "output_format": "webp",
                "seed": 7,
                "user": "u",
                "output_compression": 80,
            }
        ),
    )


def test_openrouter_is_told_a_size_or_a_shape_and_a_number_only_where_the_model_makes_several() -> None:
    call = ProviderCall("any/model", SOURCE, n=3, prompt="Vary it.", size=Size(1024, 1536))
    body = asked("openrouter", call, size_field="size", max_n=4).body
    assert isinstance(body, JsonBody)
    assert (body.value["size"], body.value["n"]) == ("1024x1536", 3)
    assert "aspect_ratio" not in body.value


def test_openrouter_says_what_it_cost() -> None:
    said = answer({"data": [{"b64_json": RESULTS_BASE64[0]}], "usage": {"cost": 0.041}})
    _, result = converse("openrouter", ProviderCall("any/model", SOURCE, prompt="Vary it."), said)
    assert result is not None
    assert result.cost_usd == 0.041


def test_byteplus_makes_one_image_and_no_series() -> None:
    call = ProviderCall("seedream-5-0-260128", SOURCE, prompt="Vary it.", size=Size(1280, 720), seed=7)
    assert asked("byteplus", call) == HttpRequest(
        "POST",
        f"{BASE_URL}/images/generations",
        body=JsonBody(
            {
                "model": "seedream-5-0-260128",
                "prompt": "Vary it.",
                "image": DATA_URL,
                "size": "1280x720",
                "response_format": "b64_json",
                "seed": 7,
                "watermark": False,
                "sequential_image_generation": "disabled",
            }
        ),
    )


def test_dashscope() -> None:
    call = ProviderCall(
        "qwen-image-3.0", SOURCE, prompt="Vary it.", size=Size(1024, 768), seed=2**32 - 1, options={"watermark": True}
    )
    assert asked("dashscope", call) == HttpRequest(
        "POST",
        f"{BASE_URL}/services/aigc/multimodal-generation/generation",
        body=JsonBody(
            {
                "model": "qwen-image-3.0",
                "input": {"messages": [{"role": "user", "content": [{"image": DATA_URL}, {"text": "Vary it."}]}]},
                "parameters": {
                    "n": 1,
                    "size": "1024*768",
                    "seed": 2**31 - 1,
                    "prompt_extend": False,
                    "watermark": True,
                },
            }
        ),
    )


@pytest.mark.parametrize(
    ("code", "kind", "may_have_run"),
    [
        ("DataInspectionFailed", ErrorKind.CONTENT_REJECTED, True),
        ("Throttling.RateQuota", ErrorKind.RATE_LIMITED, False),
        ("Arrearage", ErrorKind.UPSTREAM_AUTH, False),
        ("InvalidParameter", ErrorKind.UNSUPPORTED, False),
        ("InternalError.Algo", ErrorKind.UNAVAILABLE, True),
        ("Unheard.Of", ErrorKind.BAD_RESPONSE, True),
    ],
)
def test_an_error_inside_a_200_of_dashscope_is_one(code: str, kind: ErrorKind, may_have_run: bool) -> None:
    with pytest.raises(GatewayError, match=re.escape(code)) as caught:
        converse(
            "dashscope", ProviderCall("qwen-image-3.0", SOURCE, prompt="p"), answer({"code": code, "message": "No."})
        )
    assert (caught.value.kind, caught.value.may_have_run) == (kind, may_have_run)


@pytest.mark.parametrize("model", ["black-forest-labs/FLUX.1-kontext-pro", "black-forest-labs/FLUX.2-dev"])
def test_together(model: str) -> None:
    listed = model.endswith("pro")
    call = ProviderCall(model, SOURCE, prompt="Vary it.", size=Size(1024, 768), seed=7, output_format=ImageFormat.PNG)
    facts: dict[str, Any] = {} if listed else {"image_field": "reference_images[]"}
    assert asked("together", call, **facts) == HttpRequest(
        "POST",
        f"{BASE_URL}/images/generations",
        body=JsonBody(
            {
                "model": model,
                **({"image_url": DATA_URL} if listed else {"reference_images": [DATA_URL]}),
                "prompt": "Vary it.",
                "width": 1024,
                "height": 768,
                "seed": 7,
                "output_format": "png",
                "response_format": "base64",
            }
        ),
    )


def test_flux_on_azure_foundry() -> None:
    call = ProviderCall("flux.2-pro", SOURCE, prompt="Vary it.", size=Size(1024, 768), seed=7)
    assert asked("azure-foundry", call) == HttpRequest(
        "POST",
        f"{BASE_URL}/providers/blackforestlabs/v1/flux-2-pro?api-version=preview",
        headers={"accept": "application/json"},
        body=JsonBody(
            {
                "model": "flux.2-pro",
                "prompt": "Vary it.",
                "input_image": BASE64,
                "width": 1024,
                "height": 768,
                "seed": 7,
            }
        ),
    )


def test_mai_on_azure_foundry() -> None:
    assert asked("azure-foundry", ProviderCall("MAI-Image-2.6", SOURCE, prompt="Vary it.")) == HttpRequest(
        "POST",
        f"{BASE_URL}/mai/v1/images/edits?api-version=preview",
        headers={"accept": "application/json"},
        body=FormBody(
            (("model", "MAI-Image-2.6"), ("prompt", "Vary it."), ("n", "1")),
            (FormFile("image", "image.png", "image/png", SOURCE.data),),
        ),
    )


def test_wavespeed_is_polled_by_the_id() -> None:
    call = ProviderCall("wavespeed-ai/flux-redux-dev", SOURCE, n=2, size=Size(1024, 768), seed=7)
    created = answer({"data": {"id": "an id/?", "status": "created", "outputs": []}})
    requests, _ = converse("wavespeed", call, created)
    assert requests == (
        HttpRequest(
            "POST",
            f"{BASE_URL}/wavespeed-ai/flux-redux-dev",
            body=JsonBody({"image": DATA_URL, "size": "1024*768", "seed": 7, "num_images": 2}),
        ),
        HttpRequest("GET", f"{BASE_URL}/predictions/an%20id%2F%3F/result", Purpose.POLL, delay_s=0.5),
    )


@pytest.mark.parametrize(
    ("strength", "word"), [(None, None), (0.0, "subtle"), (0.3, "subtle"), (0.5, "vivid"), (1.0, "wild")]
)
def test_freepik_has_three_words_for_strength(strength: float | None, word: str | None) -> None:
    expected = {"image": BASE64, "prompt": "Warmer.", "imagination": word, "aspect_ratio": "original"}
    assert asked("freepik", ProviderCall("reimagine-flux", SOURCE, prompt="Warmer.", strength=strength)) == HttpRequest(
        "POST",
        f"{BASE_URL}/ai/beta/text-to-image/reimagine-flux",
        body=JsonBody({name: value for name, value in expected.items() if value is not None}),
    )


def test_a_picture_that_freepik_has_at_once_is_not_waited_for() -> None:
    said = answer({"data": {"task_id": "t", "status": "COMPLETED", "generated": ["https://files.test/1.png"]}})
    requests, result = converse("freepik", ProviderCall("reimagine-flux", SOURCE), said)
    assert len(requests) == 1
    assert result is not None
    assert result.images[0].url == "https://files.test/1.png"


def test_runware() -> None:
    call = ProviderCall(
        "runware:101@1", SOURCE, n=2, prompt="Vary it.", size=Size(1024, 768), strength=0.4, seed=7,
        output_format=ImageFormat.JPEG,
    )  # fmt: skip
    request = asked("runware", call)
    assert isinstance(request.body, JsonBody)
    (task,) = request.body.value
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", task.pop("taskUUID"))
    assert (request.method, request.url) == ("POST", f"{BASE_URL}/v1")
    assert task == {
        "taskType": "imageInference",
        "model": "runware:101@1",
        "seedImage": DATA_URL,
        "positivePrompt": "Vary it.",
        "width": 1024,
        "height": 768,
        "seed": 7,
        "numberResults": 2,
        "strength": 0.4,
        "outputType": "base64Data",
        "outputFormat": "JPG",
        "includeCost": True,
    }


def test_runware_says_what_it_cost_and_with_which_seeds() -> None:
    entries = [{"imageBase64Data": RESULTS_BASE64[at], "seed": 7 + at, "cost": 0.002} for at in range(2)]
    call = ProviderCall("runware:101@1", SOURCE, n=2, prompt="p", size=Size(512, 512))
    _, result = converse("runware", call, answer({"data": entries}))
    assert result is not None
    assert (result.cost_usd, result.seeds) == (0.004, (7, 8))
