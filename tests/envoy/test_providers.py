"""Every provider that the catalog knows makes a variation through Envoy, from nothing but a section of gateway.yaml."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from gateway_of_doubles import Caller, assert_no_secret, attempts, gateway_of_doubles, pictures, section, told_maker
from PIL import Image
from running_gateway import RunningGateway

from service.catalog import catalog
from tests.doubles.server import DoublesServer


@dataclass(frozen=True)
class Provider:
    """The facts that are known of one provider's answer to a single image of 512x512.

    ``cost_usd``: as the double reports it or the catalog prices it; None: nobody knows.
    ``tokens``: whether the provider counts them.
    """

    name: str
    model: str
    cost_usd: float | None
    tokens: bool = False

    def __str__(self) -> str:
        return self.name


# Tokens of the doubles at the catalog's prices: 45 of text, 194 of image in, 1056 of image out.
TOKENS_USD = (45 * 5 + 194 * 8 + 1056 * 30) / 1_000_000

PROVIDERS = (
    Provider("openai", "gpt-image-2", TOKENS_USD, tokens=True),
    Provider("azure", "gpt-image-2", TOKENS_USD, tokens=True),
    Provider("deepinfra", "black-forest-labs/FLUX-1-Redux-dev", 0.012 / 4),
    Provider("xai", "grok-imagine-image", 0.02),
    Provider("gemini", "gemini-3.1-flash-image", 0.067, tokens=True),
    Provider("vertex", "gemini-3.1-flash-image", 0.067, tokens=True),
    Provider("bedrock", "stability.sd3-5-large-v1:0", 0.08),
    Provider("bedrock-signed", "stability.sd3-5-large-v1:0", 0.08),
    Provider("stability", "sd3.5-large", 0.065),
    Provider("ideogram", "ideogram-v3", 0.06),
    Provider("recraft", "variate", 0.04),
    Provider("fal", "fal-ai/flux-1/dev/redux", 0.025 / 4),
    Provider("fal-run", "fal-ai/flux-1/dev/redux", 0.025 / 4),
    Provider("replicate", "black-forest-labs/flux-redux-dev", 0.025),
    Provider("bfl", "flux-2-pro", 0.045),
    Provider("azure-foundry", "flux.2-pro", 0.04),
    Provider("openrouter", "openai/gpt-5-image", 0.04, tokens=True),
    Provider("together", "black-forest-labs/FLUX.1-kontext-pro", None),
    Provider("byteplus", "seedream-5-0-260128", None, tokens=True),
    Provider("dashscope", "qwen-image-3.0", 0.03),
    Provider("wavespeed", "wavespeed-ai/flux-redux-dev", None),
    Provider("freepik", "reimagine-flux", None),
    Provider("runware", "runware:101@1", 0.0019),
    Provider("sdapi", "default", 0),
    Provider("vllm-omni", "Qwen/Qwen-Image-Edit-2511", 0, tokens=True),
    Provider("sdcpp", "sd-cpp-local", 0),
    Provider("aquiles", "default", 0),
    # This very gateway once more, as another copy's provider.
    Provider("copy", "sdapi/default", None),
)
every_provider = pytest.mark.parametrize("provider", PROVIDERS, ids=str)


@pytest.fixture(scope="module")
def sections(doubles_process: DoublesServer) -> dict[str, Any]:
    made = {name: section(doubles_process, name) for name in doubles_process.state.doubles}
    return {
        **made,
        "copy": {"type": "gateway", "base_url": "http://127.0.0.1:${HTTP_PORT}/v1"},
        "openai-in-private": {**made["openai"], "allow_raw": False},
        # Models that no catalogue lists, each by what the operator says of it.
        "any-fal": {
            **made["fal-run"],
            "models": {"somebody/single": {"image_field": "image_url", "prompt": "required"}},
        },
        "any-replicate": {
            **made["replicate"],
            "models": {"google/nano-banana:5599ed30": {"image_field": "redux_image", "prompt": "none"}},
        },
        # A server that speaks like OpenAI and is not OpenAI.
        "like-openai": {**made["openai"], "type": "openai", "inherit_catalog": None, "models": {"gpt-image-2": {}}},
    }


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory,
    doubles_process: DoublesServer,
    sections: dict[str, Any],
) -> Iterator[RunningGateway]:
    directory = tmp_path_factory.mktemp("gateway")
    with gateway_of_doubles(directory, doubles_process, sections, allow_raw=True) as running:
        yield running


@pytest.fixture
def caller(gateway: RunningGateway, doubles: DoublesServer, photo: bytes) -> Iterator[Caller]:
    caller = Caller(gateway, doubles, photo)
    with caller.client:
        yield caller


def test_no_provider_is_forgotten(sections: dict[str, Any]) -> None:
    beside = {"openai-in-private", "any-fal", "any-replicate", "like-openai"}
    assert {provider.name for provider in PROVIDERS} == set(sections) - beside
    assert {each["type"] for each in sections.values()} == set(catalog.load()) - {"local"}


@every_provider
def test_makes_a_variation_of_exactly_the_size_and_format_asked_for(provider: Provider, caller: Caller) -> None:
    answer = caller.ask(f"{provider.name}/{provider.model}", size="512x512", output_format="webp")
    (picture,) = pictures(answer)
    assert (picture.size, picture.format) == ((512, 512), "WEBP")
    body = answer.json()
    assert (body["size"], body["output_format"]) == ("512x512", "webp")
    assert told_maker(answer) == (provider.name, provider.model, 0)
    (attempt,) = attempts(answer)
    assert attempt[:2] == (provider.name, "success")
    assert body["extra_fields"].get("cost_usd") == (
        None if provider.cost_usd is None else pytest.approx(provider.cost_usd)
    )
    assert ("usage" in body) is provider.tokens
    if provider.tokens:
        usage = body["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    assert "warnings" not in body["extra_fields"]
    # Nobody asked for these.
    assert not {"raw_request", "raw_response"} & set(body["extra_fields"])


@every_provider
def test_hands_out_a_link_of_ours_and_shows_the_exchange_to_who_asks(
    provider: Provider,
    caller: Caller,
    doubles: DoublesServer,
    photo: bytes,
) -> None:
    target = f"{provider.name}/{provider.model}"
    answer = caller.ask(target, response_format="url", headers={"x-raw": "true"})
    assert answer.status_code == 200, answer.text
    link = httpx.URL(answer.json()["data"][0]["url"])
    assert link.host == caller.client.base_url.host
    assert link.port == caller.client.base_url.port
    file = caller.client.get(link)
    with Image.open(io.BytesIO(file.content)) as picture:
        assert (picture.size, picture.format) == ((256, 256), "PNG")

    extra = answer.json()["extra_fields"]
    shown = str(extra["raw_request"]) + str(extra["raw_response"])
    assert_no_secret(shown, doubles)
    assert "bytes of image/" in str(extra["raw_request"])
    # Neither the picture that was sent nor one that was made, in whatever form.
    assert len(shown) < 5000
    assert base64.b64encode(photo[:30]).decode() not in shown


def test_what_is_sent_and_received_is_not_shown_where_the_operator_forbids_it(caller: Caller) -> None:
    answer = caller.ask("openai-in-private/gpt-image-2", headers={"x-raw": "true"})
    assert answer.status_code == 200
    assert not {"raw_request", "raw_response"} & set(answer.json()["extra_fields"])


@pytest.mark.parametrize("target", ["any-fal/somebody/single", "any-replicate/google/nano-banana:5599ed30"])
def test_a_model_that_nobody_listed_is_asked_by_three_lines_of_configuration(target: str, caller: Caller) -> None:
    (picture,) = pictures(caller.ask(target))
    assert picture.size == (256, 256)


@pytest.mark.parametrize("target", ["fal/somebody/single", "replicate/somebody/model"])
def test_a_model_of_which_nobody_said_how_it_takes_the_source_is_never_asked(
    target: str, caller: Caller, doubles: DoublesServer
) -> None:
    answer = caller.ask(target)
    assert answer.status_code == 400, answer.text
    assert "image_field" in answer.json()["error"]["message"]
    assert not doubles.state.requests(target.partition("/")[0])


@pytest.mark.parametrize(
    ("target", "options", "field"),
    [
        ("openai/gpt-image-2", {"openai": {"model": "gpt-image-2.6-sunburst", "n": 10, "quality": "high"}}, "model"),
        ("openai/gpt-image-2", {"openai": {"n": 10}}, "n"),
        ("fal/fal-ai/flux-1/dev/redux", {"fal": {"num_images": 4}}, "n"),
        ("replicate/black-forest-labs/flux-redux-dev", {"replicate": {"num_outputs": 4}}, "n"),
        (
            "gemini/gemini-3.1-flash-image",
            {"gemini": {"generationConfig": {"imageConfig": {"imageSize": "4K"}}}},
            "size",
        ),
    ],
)
def test_what_the_gateway_decides_no_option_changes(
    target: str, options: dict[str, Any], field: str, caller: Caller, doubles: DoublesServer
) -> None:
    answer = caller.ask(target, provider_options=json.dumps(options))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (
        400,
        "invalid_provider_options",
        "provider_options",
    ), answer.text
    assert f"use the request's field '{field}'" in error["message"]
    assert not doubles.state.requests(target.partition("/")[0])


def test_a_server_that_only_speaks_like_a_vendor_has_no_price_of_the_vendors(caller: Caller) -> None:
    answer = caller.ask("like-openai/gpt-image-2")
    assert answer.status_code == 200, answer.text
    assert "cost_usd" not in answer.json()["extra_fields"]
    assert caller.ask("like-openai/gpt-image-2.5-flare").status_code == 404
