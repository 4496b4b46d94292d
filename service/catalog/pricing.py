"""The cost of calls, in USD."""

from __future__ import annotations

import math
from collections.abc import Sequence

from service.catalog.fit import USUAL_PIXELS, size_to_ask
from service.catalog.profile import Price, Profile
from service.core.calls import CallResult
from service.core.errors import GatewayError
from service.core.values import Size, Usage, VariationRequest

_TOKENS_PER_PRICE = 1_000_000
_PIXELS_PER_MEGAPIXEL = 1024 * 1024

# For estimates, of the models that are paid by the token: output tokens of an image of 1024 x 1024 by quality (the
# vendor's table for GPT Image; what is left open may turn out high), and the most that an input image comes to.
_OUTPUT_TOKENS = {"low": 272, "medium": 1056}
_MOST_OUTPUT_TOKENS = 4160
_MOST_INPUT_IMAGE_TOKENS = 6240
# Shapes that the model chooses are taken to have this many pixels, as far as its limit goes.
_PIXELS_OF_UNKNOWN_SIZE = 4 * USUAL_PIXELS
# A prompt has fewer tokens than characters; this many stand for the default prompt.
_LEAST_TEXT_TOKENS = 500


def cost_usd(result: CallResult, price: Price | None, sizes: Sequence[Size | None] = ()) -> float | None:
    """The cost by the provider's own account, else by the catalog's price, else None: unknown.

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


def failed_cost_usd(failure: GatewayError, price: Price | None) -> float | None:
    """The cost of work that came to nothing, by the provider's own account; None where it gives none."""
    if failure.cost_usd is not None:
        return failure.cost_usd
    if failure.usage is None or price is None:
        return None
    tokens = _tokens_usd(failure.usage, price)
    # A price by the image or the request is for images; whether it is asked where there are none, nobody says.
    return tokens or None


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


def estimated_usd(request: VariationRequest, profile: Profile) -> float | None:
    """The most that a request can cost, to be set aside before a model is asked; None where the price is unknown."""
    price = profile.price
    if price is None:
        return 0.0 if profile.free else None
    square = Size(math.isqrt(USUAL_PIXELS), math.isqrt(USUAL_PIXELS))
    asked = size_to_ask(request.size, profile, request.size or square)
    pixels = asked.pixels if asked else min(profile.max_pixels, _PIXELS_OF_UNKNOWN_SIZE)
    calls = math.ceil(request.n / profile.max_n)
    output_tokens = _OUTPUT_TOKENS.get(request.quality, _MOST_OUTPUT_TOKENS) * pixels / USUAL_PIXELS
    per_image = price.per_image + price.per_megapixel * pixels / _PIXELS_PER_MEGAPIXEL
    per_image += price.output_image_tokens * output_tokens / _TOKENS_PER_PRICE
    text_tokens = max(len(request.prompt), _LEAST_TEXT_TOKENS)
    per_call = (
        price.per_request
        + (price.input_image_tokens * _MOST_INPUT_IMAGE_TOKENS + price.input_text_tokens * text_tokens)
        / _TOKENS_PER_PRICE
    )
    return per_image * request.n + per_call * calls
