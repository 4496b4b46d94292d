"""Between the generated messages and our own values."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from fake_backends import FakeBackend, directory, provider
from google.protobuf import json_format, struct_pb2
from imagevariations.v1 import image_variation_pb2 as pb

from service.api.convert import (
    completed_message,
    event_message,
    failed_message,
    fields_from_message,
    plain,
    response_message,
)
from service.api.model_messages import models_message
from service.api.validation import Fields
from service.catalog.profile import Price, Profile
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Attempt, ImageFormat, Size, Target, Usage
from service.gateway.directory import Alias
from service.gateway.events import AttemptFailed, AttemptStarted, ImageCompleted
from service.gateway.outcome import FinishedImage, Outcome
from service.routing.route import WeightedTarget

LINKED = FinishedImage(0, Size(64, 48), ImageFormat.PNG, url="http://gateway.test/x", revised_prompt="a cat")
INLINE = FinishedImage(1, Size(64, 48), ImageFormat.PNG, data=b"\x89PNG")
OUTCOME = Outcome(
    id="var_1",
    created=1_795_338_616,
    images=(LINKED, INLINE),
    model_requested="fast",
    target=Target("openai", "gpt-image-2"),
    deployment="gpt-image-2-2026",
    fallback_index=1,
    attempts=(
        Attempt("fal", "x", "main", 12, "rate_limited", 429),
        Attempt("openai", "gpt-image-2", "k", 900, "success"),
    ),
    latency_ms=1000,
    usage=Usage(input_tokens=5, output_tokens=7, total_tokens=12, input_image_tokens=5),
    cost_usd=0.0,
    warnings=("Something was dropped.",),
)


def as_json(message: Any) -> Any:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


class TestRequests:
    def test_nothing_set_is_nothing_given(self) -> None:
        assert fields_from_message(pb.CreateImageVariationRequest()) == Fields(fallbacks=[])

    def test_zero_is_something_given(self) -> None:
        fields = fields_from_message(pb.CreateImageVariationRequest(n=0, seed=0, strength=0.0))
        assert (fields.n, fields.seed, fields.strength) == (0, 0, 0.0)

    def test_every_field_arrives(self) -> None:
        """A field that is added to the message must be read, too."""
        message = pb.CreateImageVariationRequest()
        document = {
            "model": "m", "image": "aW1n", "n": 2, "size": "s", "response_format": "r", "user": "e",
            "fallbacks": [{"provider": "a", "model": "b"}], "prompt": "p", "strength": 0.5, "seed": 3,
            "output_format": "o", "quality": "q", "background": "g", "provider_options": {"fal": {"x": 1}},
            "fit": "f", "fit_ground": "d", "output_compression": 0,
        }  # fmt: skip
        assert set(document) == {field.name for field in message.DESCRIPTOR.fields} - {"image_url"}
        fields = fields_from_message(json_format.ParseDict(document, message))
        assert fields == Fields(
            model="m", image=b"img", image_given=True, n=2, size="s", response_format="r", user="e", fallbacks=["a/b"],
            prompt="p", strength=0.5, seed=3, output_format="o", quality="q", background="g",
            provider_options={"fal": {"x": 1}}, fit="f", fit_ground="d", output_compression=0,
        )  # fmt: skip

    def test_there_is_one_source(self) -> None:
        message = pb.CreateImageVariationRequest(image=b"img", image_url="https://example.org/x.png")
        fields = fields_from_message(message)
        assert (fields.image, fields.image_given, fields.image_url) == (b"", False, "https://example.org/x.png")

    def test_an_empty_image_is_one_that_was_given(self) -> None:
        assert fields_from_message(pb.CreateImageVariationRequest(image=b"")).image_given

    def test_a_fallback_without_a_model_is_refused_by_name(self) -> None:
        message = pb.CreateImageVariationRequest(fallbacks=[pb.Fallback(model="a/b"), pb.Fallback(provider="openai")])
        with pytest.raises(GatewayError) as caught:
            fields_from_message(message)
        assert caught.value.param == "fallbacks[1]"

    def test_whole_numbers_of_a_struct_are_integers_again(self) -> None:
        document = {"steps": 4, "scale": 0.5, "big": 2.0**60, "flag": True, "none": None, "list": [1, {"deep": "x"}]}
        back = plain(json_format.ParseDict(document, struct_pb2.Struct()))
        assert back == document
        assert [type(back[name]) for name in ("steps", "scale", "big", "flag")] == [int, float, float, bool]

    def test_a_struct_may_hold_what_json_does_not(self) -> None:
        """Validation refuses it by name; it must get that far."""
        struct = struct_pb2.Struct()
        struct.fields["nan"].number_value = math.nan
        struct.fields["unset"].SetInParent()
        back = plain(struct)
        assert math.isnan(back["nan"])
        assert back["unset"] is None


class TestAnswers:
    def test_tell_everything(self) -> None:
        assert as_json(response_message(OUTCOME)) == {
            "id": "var_1",
            "created": 1_795_338_616,
            "model": "gpt-image-2",
            "data": [
                {"url": "http://gateway.test/x", "revised_prompt": "a cat", "index": 0},
                {"b64_json": "iVBORw==", "index": 1},
            ],
            "output_format": "png",
            "size": "64x48",
            "usage": {
                "input_tokens": 5,
                "input_tokens_details": {"image_tokens": 5, "text_tokens": 0},
                "total_tokens": 12,
                "output_tokens": 7,
                "output_tokens_details": {"image_tokens": 0, "text_tokens": 0},
            },
            "extra_fields": {
                "request_type": "image_variation",
                "provider": "openai",
                "model_requested": "fast",
                "model_deployment": "gpt-image-2-2026",
                "latency": 1000,
                "chunk_index": 0,
                "attempts": [
                    {"provider": "fal", "model": "x", "key": "main", "latency": 12, "outcome": "rate_limited",
                     "status": 429},
                    {"provider": "openai", "model": "gpt-image-2", "key": "k", "latency": 900, "outcome": "success"},
                ],
                "fallback_index": 1,
                "cost_usd": 0.0,
                "warnings": ["Something was dropped."],
            },
        }  # fmt: skip

    def test_leave_out_what_is_unknown(self) -> None:
        answer = as_json(response_message(replace(OUTCOME, usage=None, cost_usd=None)))
        assert "usage" not in answer
        assert "cost_usd" not in answer["extra_fields"]

    def test_show_the_raw_exchange(self) -> None:
        raw = {"n": 1, "nested": [None, {"x": "y"}]}
        answer = as_json(response_message(replace(OUTCOME, raw_request=raw, raw_response="text")))
        assert answer["extra_fields"]["raw_request"] == raw
        assert answer["extra_fields"]["raw_response"] == "text"

    @pytest.mark.parametrize("raw", [{"x": 10**400}, {"x": "\ud800"}, object(), "deep"])
    def test_are_not_lost_over_a_raw_exchange_that_cannot_be_shown(self, raw: Any) -> None:
        if raw == "deep":
            raw = {}
            for _ in range(40):
                raw = {"x": raw}
        message = response_message(replace(OUTCOME, raw_response=raw))
        assert len(message.data) == 2
        assert "raw_response was left out" in message.extra_fields.warnings[-1]
        assert pb.CreateImageVariationResponse.FromString(message.SerializeToString()) == message

    def test_are_not_lost_over_absurd_counts(self) -> None:
        message = response_message(replace(OUTCOME, usage=Usage(input_tokens=2**40, output_tokens=-3)))
        assert (message.usage.input_tokens, message.usage.output_tokens) == (2**32 - 1, 0)


class TestEvents:
    def test_say_what_they_are(self) -> None:
        attempt = Attempt("fal", "x", "main", 12, "rate_limited", 429)
        started = event_message(AttemptStarted(Target("fal", "x"), 0))
        failed = event_message(AttemptFailed(attempt, "Slow down.", Target("openai", "y")))
        last = event_message(AttemptFailed(attempt, "Slow down.", None))
        image = event_message(ImageCompleted(INLINE, Target("fal", "x")))
        assert [each.type for each in (started, failed, image, completed_message(OUTCOME))] == [
            "image_variation.attempt_started",
            "image_variation.attempt_failed",
            "image_variation.image_completed",
            "image_variation.completed",
        ]
        assert (failed.attempt_failed.next, last.attempt_failed.next) == ("openai/y", "")
        assert image.image_completed.b64_json == b"\x89PNG"
        assert not completed_message(OUTCOME).completed.data

    def test_of_an_image_say_who_made_it(self) -> None:
        image = event_message(ImageCompleted(INLINE, Target("fal", "x"))).image_completed
        assert (image.provider, image.model) == ("fal", "x")

    def test_of_failure_hold_all_that_is_known_of_it(self) -> None:
        attempt = Attempt("fal", "x", "main", 12, "unavailable", 503)
        error = GatewayError(
            ErrorKind.UNAVAILABLE, "Down \ud800.", retry_after_s=1.5, may_have_run=False, attempts=[attempt]
        )
        assert as_json(failed_message(error, "req_1")) == {
            "type": "image_variation.failed",
            "failed": {
                "message": "Down ?.",
                "type": "api_error",
                "code": "provider_unavailable",
                "http_status": 503,
                "retry_after_ms": 1500,
                "should_retry": True,
                "request_id": "req_1",
                "attempts": [
                    {
                        "provider": "fal",
                        "model": "x",
                        "key": "main",
                        "latency": 12,
                        "outcome": "unavailable",
                        "status": 503,
                    }
                ],
            },
        }


class TestModels:
    def test_are_listed_with_their_capabilities_and_then_the_aliases(self) -> None:
        profile = Profile(
            max_n=4, sizes=(Size(512, 512),), price=Price(per_image=0.02, per_megapixel=0.01), notes="Paints in oil."
        )
        names = directory(
            provider("a", FakeBackend(), profile),
            aliases={"fast": Alias((WeightedTarget(Target("a", "m")),))},
        )
        model, alias = models_message(names, {Target("a", "m"): ["It will be gone."]}).data
        assert (model.id, model.owned_by, list(model.warnings)) == ("a/m", "a", ["It will be gone."])
        assert (model.capabilities.max_n, list(model.capabilities.sizes)) == (4, ["512x512"])
        assert model.capabilities.price_per_image_usd == pytest.approx(0.03)
        assert model.notes == "Paints in oil."
        assert (alias.id, alias.owned_by, list(alias.targets)) == ("fast", "alias", ["a/m"])

    def test_come_in_pages(self) -> None:
        names = directory(*(provider(name, FakeBackend()) for name in "abcde"))
        pages: list[list[str]] = []
        token = ""
        while not pages or token:
            page = models_message(names, {}, page_size=2, page_token=token)
            pages.append([model.id for model in page.data])
            token = page.next_page_token
        assert pages == [["a/m", "b/m"], ["c/m", "d/m"], ["e/m"]]

    def test_come_all_at_once_unless_asked_otherwise(self) -> None:
        names = directory(*(provider(name, FakeBackend()) for name in "abcde"))
        whole = models_message(names, {})
        assert (len(whole.data), whole.next_page_token) == (5, "")

    @pytest.mark.parametrize(
        ("page", "param"),
        [
            ({"page_size": -1}, "page_size"),
            ({"page_size": 1001}, "page_size"),
            ({"page_token": "?"}, "page_token"),
            ({"page_token": "Z29uZQ"}, "page_token"),
        ],
    )
    def test_have_no_page_that_cannot_be(self, page: dict[str, Any], param: str) -> None:
        with pytest.raises(GatewayError) as caught:
            models_message(directory(provider("a", FakeBackend())), {}, **page)
        assert (caught.value.param, caught.value.kind) == (param, ErrorKind.INVALID_REQUEST)

    @pytest.mark.parametrize("price", [None, Price(output_image_tokens=40.0)])
    def test_have_no_price_where_it_depends(self, price: Price | None) -> None:
        (model,) = models_message(directory(provider("a", FakeBackend(), Profile(price=price))), {}).data
        assert not model.capabilities.HasField("price_per_image_usd")
