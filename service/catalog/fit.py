"""Fits a request to what one model can do: pure arithmetic on the Profile. Converting the image itself is imaging's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.catalog.profile import Profile, PromptRule
from service.core.calls import ProviderCall
from service.core.values import EncodedImage, ImageFormat, Size, VariationRequest

USUAL_PIXELS = 1024 * 1024
"""The area asked for when the caller leaves the size open: the one that today's models are trained at."""

_SEEDS = 2**32


@dataclass(frozen=True, slots=True)
class Part:
    """One call of those that a request is split into.

    Attributes:
        first: How many images the calls before it make.
        n: How many images this one makes.
        seed: The caller's seed plus ``first``, so that no two calls make the same images; None without a seed.
    """

    first: int
    n: int
    seed: int | None


@dataclass(frozen=True, slots=True)
class FittedRequest:
    """A request that asks one model for nothing it cannot do.

    Attributes:
        parts: The calls to make; their ``n`` add up to the request's.
        size: The size to ask the provider for, or None to leave it to the provider.
        output_format: The format to ask the provider for, or None; results are converted afterwards if need be.
        options: The caller's ``provider_options`` for this provider.
        warnings: A sentence for each wish that had to be dropped.
    """

    parts: tuple[Part, ...]
    size: Size | None
    prompt: str
    strength: float | None
    quality: str
    background: str
    output_format: ImageFormat | None
    user: str
    options: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def call(self, part: Part, model: str, image: EncodedImage) -> ProviderCall:
        """One part as a translator takes it."""
        return ProviderCall(
            model=model,
            image=image,
            n=part.n,
            size=self.size,
            prompt=self.prompt,
            strength=self.strength,
            seed=part.seed,
            quality=self.quality,
            background=self.background,
            output_format=self.output_format,
            user=self.user,
            options=self.options,
        )


def fit(
    request: VariationRequest, profile: Profile, *, provider: str, source: Size, default_prompt: str
) -> FittedRequest:
    """Fits a request to a model.

    A knob that the model lacks is dropped with a warning. Sizes and formats need none: what comes back is brought
    to what was asked for.

    Args:
        provider: The provider's name, as the caller writes it in ``provider_options`` and as warnings call it.
        source: The size of the image to vary, as displayed.
        default_prompt: What a model that needs a prompt is told when the caller said nothing.
    """
    warnings: list[str] = []

    def kept(name: str, wish: Any, supported: bool, nothing: Any) -> Any:
        if wish == nothing or supported:
            return wish
        if wish != "auto":
            warnings.append(f"{provider} has no {name} for this model; it was dropped.")
        return nothing

    prompt = kept("prompt", request.prompt, profile.prompt is not PromptRule.NONE, "")
    if profile.prompt is PromptRule.REQUIRED and not prompt.strip():
        prompt = default_prompt
    return FittedRequest(
        parts=split(request.n, profile.max_n, kept("seed", request.seed, profile.seed, None)),
        size=size_to_ask(request.size, profile, source),
        prompt=prompt,
        strength=kept("strength", request.strength, profile.strength, None),
        quality=kept("quality", request.quality, profile.quality, ""),
        background=kept("background", request.background, profile.background, ""),
        output_format=_format_to_ask(request, profile),
        user=request.user,
        options=request.provider_options.get(provider, {}),
        warnings=tuple(warnings),
    )


def split(n: int, max_n: int, seed: int | None) -> tuple[Part, ...]:
    """``n`` images in calls of at most ``max_n``, the full ones first: 10 in fours are 4, 4 and 2."""
    return tuple(
        Part(first, min(max_n, n - first), None if seed is None else (seed + first) % _SEEDS)
        for first in range(0, n, max_n)
    )


def size_to_ask(wanted: Size | None, profile: Profile, source: Size) -> Size | None:
    """The supported size that serves ``wanted`` best: nearest in shape, then large enough, then as small as may be.

    For ``auto`` (None) the source's shape is wanted with USUAL_PIXELS, unless the model finds the source's shape by
    itself. None where no size can be asked for.
    """
    if profile.output_follows_input or (wanted is None and profile.auto_follows_input):
        return None
    if wanted is None:
        aspect = 1.0 if profile.square_input else source.aspect
        side = math.sqrt(USUAL_PIXELS / aspect)
        width, height = side * aspect, side
    else:
        width, height = float(wanted.width), float(wanted.height)
    if profile.sizes:
        return _nearest_offered(width, height, profile.sizes)
    return _nearest_free(width, height, profile)


def _nearest_offered(width: float, height: float, sizes: tuple[Size, ...]) -> Size:
    for size in sizes:
        if size.width == width and size.height == height:
            return size
    area = width * height

    def rank(size: Size) -> tuple[float, bool, float]:
        # Shapes that differ by less than rounding count as one, so that the area decides between them.
        shape = round(abs(math.log(size.aspect * height / width)), 2)
        enough = size.pixels >= area * 0.999
        return shape, not enough, size.pixels if enough else -size.pixels

    return min(sizes, key=rank)


def _nearest_free(width: float, height: float, profile: Profile) -> Size:
    """The shape scaled into the limits and rounded up to the multiple; a limit wins over the shape."""
    multiple = profile.size_multiple
    if width > height * profile.max_ratio:
        height = width / profile.max_ratio
    elif height > width * profile.max_ratio:
        width = height / profile.max_ratio
    least = _up(profile.min_side, multiple)
    most = profile.max_side // multiple * multiple
    enlarged = max(1.0, least / min(width, height), math.sqrt(profile.min_pixels / (width * height)))
    width, height = width * enlarged, height * enlarged
    reduced = min(1.0, most / max(width, height), math.sqrt(profile.max_pixels / (width * height)))
    sides = [min(most, max(least, _up(side * reduced, multiple))) for side in (width, height)]
    longer = 0 if sides[0] >= sides[1] else 1
    # Rounding up, or a short side held at its least, may have gone over the area; the longer side pays first.
    for index in (longer, 1 - longer):
        if sides[0] * sides[1] > profile.max_pixels:
            sides[index] = max(least, profile.max_pixels // sides[1 - index] // multiple * multiple)
    return Size(sides[0], sides[1])


def _up(side: float, multiple: int) -> int:
    # Less than a hundredth of a pixel is what floating point made of it, not a wish for another step.
    return math.ceil((side - 0.01) / multiple) * multiple


def _format_to_ask(request: VariationRequest, profile: Profile) -> ImageFormat | None:
    wanted = request.output_format
    if request.output_compression is not None and ImageFormat.PNG in profile.output_formats:
        # The result is encoded here, in the quality that was asked for: only then does it lose something.
        return ImageFormat.PNG
    return wanted if wanted in profile.output_formats else None
