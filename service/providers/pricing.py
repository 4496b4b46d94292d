"""What a call cost, in USD."""

from __future__ import annotations

from collections.abc import Sequence

from service.core.values import Size, Usage
from service.providers.base import CallResult, Price

_TOKENS_PER_PRICE = 1_000_000
_PIXELS_PER_MEGAPIXEL = 1024 * 1024


def cost_usd(result: CallResult, price: Price | None, sizes: Sequence[Size | None] = ()) -> float | None:
    """What the provider says that it cost, else what it costs by the catalog's price, else None: unknown.

    Args:
        sizes: The size of each image as the provider made it (before any resizing here), in order; None or missing
            where that is not known. Only prices per megapixel need them.
    """
    if result.cost_usd is not None:
        return result.cost_usd
    if price is None:
        return None
    tokens = _tokens_usd(result.usage, price)
    megapixels = _megapixels_usd(result, price, sizes)
    if tokens is None or megapixels is None:
        return None
    return price.per_request + price.per_image * len(result.images) + tokens + megapixels


def _tokens_usd(usage: Usage | None, price: Price) -> float | None:
    """Tokens that no detail accounts for are counted as image tokens: nearly all of them are, and they cost more."""
    rates = (price.input_text_tokens, price.input_image_tokens, price.output_image_tokens, price.output_text_tokens)
    if not any(rates):
        return 0.0
    if usage is None:
        return None
    unexplained_input = max(0, usage.input_tokens - usage.input_image_tokens - usage.input_text_tokens)
    unexplained_output = max(0, usage.output_tokens - usage.output_image_tokens - usage.output_text_tokens)
    counts = (
        usage.input_text_tokens,
        usage.input_image_tokens + unexplained_input,
        usage.output_image_tokens + unexplained_output,
        usage.output_text_tokens,
    )
    return sum(count * rate for count, rate in zip(counts, rates, strict=True)) / _TOKENS_PER_PRICE


def _megapixels_usd(result: CallResult, price: Price, sizes: Sequence[Size | None]) -> float | None:
    if not price.per_megapixel:
        return 0.0
    known = [size.pixels for size in sizes if size is not None]
    if len(known) < len(result.images):
        return None
    return price.per_megapixel * sum(known) / _PIXELS_PER_MEGAPIXEL
