"""Azure OpenAI, variations in OpenAI's shape, xAI and the web UI's img2img: whole requests, answers, errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from exchange_driver import drive
from provider_case import RESULTS, RESULTS_BASE64, SOURCE
from vendor_answers import answers

from service.catalog import catalog
from service.catalog.profile import Profile
from service.core.calls import ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import ImageFormat, Size
from service.providers import wire
from service.providers.azure_openai import AzureOpenAI
from service.providers.base import Credential, Endpoint, Translator
from service.providers.http import FormBody, FormFile, HttpRequest, HttpResponse, JsonBody, SignableRequest
from service.providers.openai_variations import OpenAIVariations
from service.providers.sdapi import StableDiffusionImg2Img
from service.providers.xai_edits import XAIEdits

JSON = {"accept": "application/json"}
IMAGE = FormFile("image", "image.png", "image/png", SOURCE.data)
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def endpoint(provider: str, **options: str) -> Endpoint:
    entry = catalog.load()[provider]
    return Endpoint(provider, entry.base_url or "https://res.openai.azure.test", options={**entry.options, **options})


def asked(translator: Translator, call: ProviderCall, where: Endpoint) -> HttpRequest:
    return drive(translator.vary(call, Profile(), where), ()).requests[0]


class TestAzure:
    call = ProviderCall("my-deployment", SOURCE, n=2, size=Size(1024, 1024), prompt="Vary it.", user="user-7")
    fields = (("prompt", "Vary it."), ("n", "2"), ("size", "1024x1024"))

    def test_the_whole_request_of_the_deployment_route(self) -> None:
        assert asked(AzureOpenAI(), self.call, endpoint("azure")) == HttpRequest(
            "POST",
            "https://res.openai.azure.test/openai/deployments/my-deployment/images/edits"
            "?api-version=2025-04-01-preview",
            headers=JSON,
            body=FormBody(self.fields, (IMAGE,)),
        )

    def test_the_v1_route_names_the_model_in_the_form(self) -> None:
        request = asked(AzureOpenAI(), self.call, endpoint("azure", route="v1", user_field="user"))
        assert request.url == "https://res.openai.azure.test/openai/v1/images/edits"
        assert isinstance(request.body, FormBody)
        assert set(request.body.fields) == {*self.fields, ("model", "my-deployment"), ("user", "user-7")}

    @pytest.mark.parametrize("suffix", ["", "/openai", "/openai/v1"])
    def test_the_base_url_may_be_written_as_any_vendor_tool_wants_it(self, suffix: str) -> None:
        where = Endpoint("azure", f"https://res.openai.azure.test{suffix}", options={"route": "v1"})
        assert asked(AzureOpenAI(), self.call, where).url == "https://res.openai.azure.test/openai/v1/images/edits"

    def test_the_deployment_is_reported(self) -> None:
        exchange = AzureOpenAI().vary(self.call, Profile(), endpoint("azure"))
        assert drive(exchange, [answers("azure")["success"]]).finished.deployment == "my-deployment"

    def test_the_key_goes_into_its_own_header_or_is_an_entra_token(self) -> None:
        request = SignableRequest("POST", "https://res.openai.azure.test/", {}, b"")
        key = Credential("main", "the-key")
        authorization = AzureOpenAI().authorization
        assert authorization(request, key, endpoint("azure"), NOW) == {"api-key": "the-key"}
        by_token = authorization(request, key, endpoint("azure", auth="bearer"), NOW)
        assert by_token == {"authorization": "Bearer the-key"}

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("unauthorized", ErrorKind.UPSTREAM_AUTH),
            ("no_deployment", ErrorKind.MODEL_GONE),
            ("not_found", ErrorKind.MODEL_GONE),
            ("content_filter", ErrorKind.CONTENT_REJECTED),
            ("inner_content_filter", ErrorKind.CONTENT_REJECTED),
            ("invalid", ErrorKind.UNSUPPORTED),
            ("server_error", ErrorKind.UNAVAILABLE),
        ],
    )
    def test_errors_are_told_apart(self, name: str, kind: ErrorKind) -> None:
        assert AzureOpenAI().failure(answers("azure")[name]).kind is kind

    def test_the_retry_hint_is_read(self) -> None:
        assert AzureOpenAI().failure(answers("azure")["rate_limited_with_hint"]).retry_after_s == 17


class TestVariations:
    def test_the_whole_request_to_deepinfra(self) -> None:
        model = "black-forest-labs/FLUX-1-Redux-dev"
        call = ProviderCall(
            model, SOURCE, n=2, size=Size(1024, 768), user="user-7", options={"num_inference_steps": 20}
        )
        assert asked(OpenAIVariations(), call, endpoint("deepinfra")) == HttpRequest(
            "POST",
            "https://api.deepinfra.com/v1/openai/images/variations",
            headers=JSON,
            body=FormBody(
                (
                    ("model", model),
                    ("n", "2"),
                    ("size", "1024x768"),
                    ("response_format", "b64_json"),
                    ("user", "user-7"),
                    ("num_inference_steps", "20"),
                ),
                (IMAGE,),
            ),
        )

    def test_another_copy_of_this_service_is_given_its_extensions(self) -> None:
        where = Endpoint(
            "upstream",
            "https://gateway.test/v1",
            options={"prompt_field": "prompt", "strength_field": "strength", "seed_field": "seed"},
        )
        call = ProviderCall(
            "local/vary", SOURCE, prompt="Warmer.", strength=0.25, seed=7, output_format=ImageFormat.WEBP
        )
        body = asked(OpenAIVariations(), call, where).body
        assert isinstance(body, FormBody)
        assert dict(body.fields) == {
            "model": "local/vary",
            "n": "1",
            "response_format": "b64_json",
            "output_format": "webp",
            "prompt": "Warmer.",
            "strength": "0.25",
            "seed": "7",
        }

    @pytest.mark.parametrize("name", ["unauthorized", "out_of_credit"])
    def test_errors_in_the_vendors_other_shape_keep_their_words(self, name: str) -> None:
        failure = OpenAIVariations().failure(answers("deepinfra")[name])
        assert failure.kind is ErrorKind.UPSTREAM_AUTH
        assert len(failure.message) > len("The provider answered 401: ")

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(400, ErrorKind.UNSUPPORTED), (404, ErrorKind.MODEL_GONE), (410, ErrorKind.MODEL_GONE)],
    )
    def test_a_retired_endpoint_is_not_tried_again(self, status: int, kind: ErrorKind) -> None:
        body = b'{"error": {"message": "This endpoint is retired and no longer available"}}'
        assert OpenAIVariations().failure(HttpResponse(status, {}, body)).kind is kind


class TestXAI:
    call = ProviderCall("grok-imagine-image", SOURCE, n=2, prompt="Vary it.", options={"moderation": "low"})

    def test_the_whole_request(self) -> None:
        assert asked(XAIEdits(), self.call, endpoint("xai")) == HttpRequest(
            "POST",
            "https://api.x.ai/v1/images/edits",
            headers=JSON,
            body=JsonBody(
                {
                    "model": "grok-imagine-image",
                    "prompt": "Vary it.",
                    "n": 2,
                    "response_format": "b64_json",
                    "image": {"url": wire.data_url(SOURCE), "type": "image_url"},
                    "moderation": "low",
                }
            ),
        )

    def test_the_cost_is_read_from_its_ticks(self) -> None:
        result = drive(XAIEdits().vary(self.call, Profile(), endpoint("xai")), [answers("xai")["success"]]).finished
        assert result.cost_usd == pytest.approx(0.04)
        assert [image.revised_prompt for image in result.images] == ["a cat", "a cat"]

    @pytest.mark.parametrize("ticks", [True, "5", -1, 10**18, None, 0.5])
    def test_a_senseless_cost_counts_as_none(self, ticks: object) -> None:
        body = {"data": [{"b64_json": RESULTS_BASE64[0]}], "usage": {"cost_in_usd_ticks": ticks}}
        answer = HttpResponse(200, {}, json.dumps(body).encode())
        assert drive(XAIEdits().vary(self.call, Profile(), endpoint("xai")), [answer]).finished.cost_usd is None

    def test_a_withheld_image_of_several_is_left_out_and_all_withheld_is_a_refusal(self) -> None:
        one = drive(XAIEdits().vary(self.call, Profile(), endpoint("xai")), [answers("xai")["one_withheld"]]).finished
        assert [image.data for image in one.images] == [RESULTS[1]]
        assert "moderation" in one.warnings[0]
        with pytest.raises(GatewayError) as caught:
            drive(XAIEdits().vary(self.call, Profile(), endpoint("xai")), [answers("xai")["all_withheld"]])
        assert caught.value.kind is ErrorKind.CONTENT_REJECTED

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("unauthorized", ErrorKind.UPSTREAM_AUTH),
            ("forbidden", ErrorKind.UPSTREAM_AUTH),
            ("rate_limited", ErrorKind.RATE_LIMITED),
            ("unknown_model", ErrorKind.MODEL_GONE),
            ("invalid", ErrorKind.UNSUPPORTED),
            ("refused", ErrorKind.CONTENT_REJECTED),
            ("server_error", ErrorKind.UNAVAILABLE),
        ],
    )
    def test_errors_are_told_apart_by_their_words(self, name: str, kind: ErrorKind) -> None:
        assert XAIEdits().failure(answers("xai")[name]).kind is kind


class TestStableDiffusionImg2Img:
    call = ProviderCall("default", SOURCE, n=2, size=Size(512, 768), strength=0.5, seed=7)

    def made(self, name: str) -> list[bytes]:
        exchange = StableDiffusionImg2Img().vary(self.call, Profile(), endpoint("sdapi"))
        return [image.data for image in drive(exchange, [answers("sdapi")[name]]).finished.images]

    def test_the_whole_request(self) -> None:
        assert asked(StableDiffusionImg2Img(), self.call, endpoint("sdapi")) == HttpRequest(
            "POST",
            "http://127.0.0.1:7860/sdapi/v1/img2img",
            headers=JSON,
            body=JsonBody(
                {
                    "init_images": [wire.base64_text(SOURCE.data)],
                    "prompt": "",
                    "denoising_strength": 0.525,
                    "seed": 7,
                    "batch_size": 2,
                    "n_iter": 1,
                    "width": 512,
                    "height": 768,
                    "steps": 20,
                }
            ),
        )

    @pytest.mark.parametrize(("strength", "denoising"), [(0.0, 0.15), (1.0, 0.9), (None, None)])
    def test_strength_becomes_denoising_strength(self, strength: float | None, denoising: float | None) -> None:
        body = asked(
            StableDiffusionImg2Img(), ProviderCall("default", SOURCE, strength=strength), endpoint("sdapi")
        ).body
        assert isinstance(body, JsonBody)
        assert body.value.get("denoising_strength") == denoising

    def test_without_a_seed_chance_is_asked_for_and_another_model_is_another_checkpoint(self) -> None:
        body = asked(
            StableDiffusionImg2Img(), ProviderCall("dream.safetensors", SOURCE), endpoint("sdapi", steps="many")
        ).body
        assert isinstance(body, JsonBody)
        assert body.value["seed"] == -1
        assert body.value["override_settings"] == {"sd_model_checkpoint": "dream.safetensors"}
        assert "steps" not in body.value

    @pytest.mark.parametrize("name", ["success", "with_contact_sheet", "with_maps", "data_urls"])
    def test_only_the_results_are_taken(self, name: str) -> None:
        assert self.made(name) == [RESULTS[0], RESULTS[1]]

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("unauthorized", ErrorKind.UPSTREAM_AUTH),
            ("not_enabled", ErrorKind.MODEL_GONE),
            ("invalid", ErrorKind.UNSUPPORTED),
            ("out_of_memory", ErrorKind.UNAVAILABLE),
        ],
    )
    def test_errors_are_told_apart(self, name: str, kind: ErrorKind) -> None:
        assert StableDiffusionImg2Img().failure(answers("sdapi")[name]).kind is kind
