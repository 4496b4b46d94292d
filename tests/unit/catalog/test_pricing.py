"""The cost of a call."""

from __future__ import annotations

import pytest

from service.catalog.pricing import cost_usd
from service.catalog.profile import Price
from service.core.calls import CallResult, ProducedImage
from service.core.values import Size, Usage

TWO = (ProducedImage(url="https://files.test/1"), ProducedImage(url="https://files.test/2"))
TOKENS = Price(input_text_tokens=5, input_image_tokens=8, output_image_tokens=30)
DETAILED = Usage(
    input_tokens=239, output_tokens=2112, total_tokens=2351, input_image_tokens=194, input_text_tokens=45,
    output_image_tokens=2112,
)  # fmt: skip


@pytest.mark.parametrize(
    ("price", "usage", "cost"),
    [
        (None, None, None),
        (Price(), None, 0.0),
        (Price(per_image=0.03), None, 0.06),
        (Price(per_request=0.04), None, 0.04),
        (Price(per_request=0.04, per_image=0.03), None, 0.10),
        (TOKENS, None, None),
        (TOKENS, DETAILED, (45 * 5 + 194 * 8 + 2112 * 30) / 1e6),
        # No details: counted as image tokens.
        (TOKENS, Usage(input_tokens=239, output_tokens=2112), (239 * 8 + 2112 * 30) / 1e6),
    ],
)
def test_the_terms_of_a_price_add_up(price: Price | None, usage: Usage | None, cost: float | None) -> None:
    made = cost_usd(CallResult(TWO, usage=usage), price)
    assert made == (None if cost is None else pytest.approx(cost))


def test_what_the_provider_reports_wins() -> None:
    assert cost_usd(CallResult(TWO, cost_usd=0.5), Price(per_image=9)) == 0.5
    assert cost_usd(CallResult(TWO, cost_usd=0.0), Price(per_image=9)) == 0.0


def test_a_price_per_megapixel_needs_every_size() -> None:
    price = Price(per_megapixel=0.025)
    square, half = Size(1024, 1024), Size(1024, 512)
    assert cost_usd(CallResult(TWO), price, (square, half)) == pytest.approx(0.0375)
    assert cost_usd(CallResult(TWO), price, (square, None)) is None
    assert cost_usd(CallResult(TWO), price) is None
