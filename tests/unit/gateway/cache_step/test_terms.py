"""The cache key counts every field of a request, unless that field is named as changing no picture."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from service.cache.digests import bucket_digest
from service.core.values import Fit, ImageFormat, ResponseFormat, Size, Target, VariationRequest
from service.gateway.cache_step.terms import parameters_of

ROUTE, TARGETS = ("fal/redux",), (Target("fal", "redux"),)

# Another value for every field; a field that is missing here fails the tests.
OTHER: dict[str, Any] = {
    "model": "other/model",
    "image": b"other",
    "image_url": "https://example.org/other.png",
    "n": 2,
    "size": Size(512, 512),
    "response_format": ResponseFormat.B64_JSON,
    "output_format": ImageFormat.WEBP,
    "fit": Fit.CONTAIN,
    "fit_ground": (255, 255, 255),
    "output_compression": 40,
    "prompt": "at night",
    "strength": 0.9,
    "seed": 7,
    "quality": "high",
    "background": "transparent",
    "user": "alice",
    "fallbacks": ("local/vary",),
    "provider_options": {"fal": {"guidance_scale": 4}},
    "raw": True,
    "warnings": ("dropped",),
}
# Described by the route or by the source's pixels, or about the answer rather than the picture.
NO_DIFFERENCE = {"model", "fallbacks", "image", "image_url", "response_format", "user", "raw", "warnings"}


def key(request: VariationRequest) -> bytes:
    return bucket_digest("scope", "namespace", parameters_of(request, ROUTE, TARGETS, "Keep the subject."))


@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(VariationRequest)])
def test_a_field_counts_unless_it_is_named_as_changing_no_picture(name: str) -> None:
    plain = VariationRequest(image=b"png")
    other = dataclasses.replace(plain, **{name: OTHER[name]})
    assert (key(plain) == key(other)) == (name in NO_DIFFERENCE)


def test_a_field_that_is_added_counts_without_anybody_thinking_of_it() -> None:
    @dataclasses.dataclass(frozen=True, slots=True)
    class WithStyle(VariationRequest):
        style: str = ""

    assert key(WithStyle(style="oil")) != key(WithStyle(style="film"))


def test_the_route_counts_by_its_names_and_by_what_they_stand_for() -> None:
    request = VariationRequest(image=b"png")
    known = {
        json.dumps(parameters_of(request, route, targets, ""), sort_keys=True)
        for route in (("best",), ("fal/redux",))
        for targets in (TARGETS, (Target("openai", "edits"),))
    }
    assert len(known) == 4


def test_no_prompt_is_the_default_prompt() -> None:
    assert key(VariationRequest(prompt="Keep the subject.")) == key(VariationRequest())
