"""The estimate that is set aside for a request before it is made."""

from __future__ import annotations

import pytest

from service.catalog import catalog
from service.catalog.pricing import cost_usd, estimated_usd
from service.catalog.profile import Price, Profile
from service.core.calls import CallResult, ProducedImage
from service.core.values import EncodedImage, ImageFormat, Size, Usage, VariationRequest


def test_prices_by_image_and_by_call_add_up() -> None:
    profile = Profile(max_n=4, price=Price(per_image=0.01, per_request=0.1))
    assert estimated_usd(VariationRequest(n=10), profile) == pytest.approx(10 * 0.01 + 3 * 0.1)


def test_a_size_is_priced_as_the_provider_makes_it() -> None:
    profile = Profile(sizes=(Size(1024, 1024),), price=Price(per_megapixel=0.02))
    assert estimated_usd(VariationRequest(size=Size(256, 256)), profile) == pytest.approx(0.02)


def test_a_size_that_nobody_knows_is_taken_to_be_large() -> None:
    profile = Profile(output_follows_input=True, price=Price(per_megapixel=0.02))
    assert estimated_usd(VariationRequest(), profile) == pytest.approx(0.08)


def test_better_quality_and_longer_prompts_cost_more() -> None:
    profile = catalog.load()["openai"].default_profile
    assert profile is not None
    size = Size(1024, 1024)
    costs = [
        estimated_usd(VariationRequest(size=size, quality="low"), profile),
        estimated_usd(VariationRequest(size=size, quality="medium"), profile),
        estimated_usd(VariationRequest(size=size), profile),
        estimated_usd(VariationRequest(size=size, prompt="x" * 32_000), profile),
    ]
    assert None not in costs
    assert costs == sorted(costs)  # type: ignore[type-var]


def test_an_unknown_price_is_unknown_and_free_is_free() -> None:
    assert estimated_usd(VariationRequest(), Profile()) is None
    assert estimated_usd(VariationRequest(), Profile(free=True)) == 0
    assert estimated_usd(VariationRequest(), Profile(price=Price())) == 0


@pytest.mark.parametrize("quality", ["low", "medium", "high"])
def test_an_estimate_is_at_least_what_the_usual_answer_costs(quality: str) -> None:
    """The vendor's numbers for one image of 1024 x 1024 with a picture and a sentence as the input."""
    profile = catalog.load()["openai"].default_profile
    assert profile is not None
    tokens = {"low": 272, "medium": 1056, "high": 4160}[quality]
    usage = Usage(239, tokens, 239 + tokens, 194, 45, tokens, 0)
    picture = EncodedImage(b"x", ImageFormat.PNG, Size(1024, 1024))
    cost = cost_usd(CallResult((ProducedImage(picture.data),), usage=usage), profile.price, [picture.size])
    estimate = estimated_usd(VariationRequest(size=picture.size, quality=quality), profile)
    assert cost is not None
    assert estimate is not None
    assert cost <= estimate
