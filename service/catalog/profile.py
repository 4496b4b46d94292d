"""Facts of one model: what it accepts, what it makes, what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum

from service.core.values import ImageFormat, Size


class PromptRule(Enum):
    """Whether a model takes guidance in words. REQUIRED: the default prompt stands in for a missing one."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a model, in USD; the terms that apply are added up.

    ``per_request`` is charged once a call however many images it makes; token prices are per million.
    """

    per_image: float = 0.0
    per_request: float = 0.0
    per_megapixel: float = 0.0
    input_text_tokens: float = 0.0
    input_image_tokens: float = 0.0
    output_image_tokens: float = 0.0
    output_text_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """The abilities of one model: facts, kept as data in service/catalog/data, that the gateway fits requests to.

    Attributes:
        max_n: Most images one call makes; the gateway splits larger requests.
        sizes: Exactly the output sizes on offer. Empty: any size within the limits below.
        size_multiple: Sides of the output must be multiples of this many pixels.
        min_side, max_side: Limits of an output side, in pixels.
        min_pixels, max_pixels: Limits of output width times height.
        max_ratio: The longer side of the output is at most this many times the shorter.
        output_follows_input: The output has the size of the input; no size can be asked for.
        auto_follows_input: Asked for no size, the model takes the shape of the input. Otherwise its default is an
            unrelated shape, and the gateway asks for the size nearest to the source's shape.
        input_formats: Formats accepted as input; the gateway converts anything else to the first of them.
        max_input_bytes: Limit of the encoded input file.
        min_input_side, max_input_side, max_input_pixels: Limits of the input in pixels.
        min_input_pixels: Smallest input width times height.
        square_input: The input must be square; the gateway crops it, centred.
        output_formats: Formats that can be asked for; empty: none can, the provider decides.
        seed, strength, quality, background: Whether the model has that knob.
        prompt: Whether it takes guidance in words.
        price: None where unknown.
        sunset: The day from which the provider no longer serves it.
        free: Repeating a call costs nothing (self-hosted, embedded), so any failure may be retried.
        image_field: At vendors whose models differ in it, the field that takes the source; ``images[]`` where it takes
            a list. Empty: not known, so the model is not asked at all: one that ignores an unknown field would bill
            a picture that has nothing to do with the source.
        count_field, size_field, strength_field: Likewise the fields for the number of images, the size (several
            names with ``+`` between them) and the strength. Empty: there is none.
        notes: What is uncertain about these facts, for the people who read ListModels.
        source: Where the facts come from.
        checked: The day on which they were last compared with that.
    """

    max_n: int = 1
    sizes: tuple[Size, ...] = ()
    size_multiple: int = 1
    min_side: int = 64
    max_side: int = 4096
    min_pixels: int = 1
    max_pixels: int = 4096 * 4096
    max_ratio: int = 1000
    output_follows_input: bool = False
    auto_follows_input: bool = False
    input_formats: tuple[ImageFormat, ...] = (ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP)
    max_input_bytes: int = 20_000_000
    min_input_side: int = 1
    max_input_side: int = 8192
    min_input_pixels: int = 1
    max_input_pixels: int = 8192 * 8192
    square_input: bool = False
    output_formats: tuple[ImageFormat, ...] = ()
    seed: bool = False
    strength: bool = False
    quality: bool = False
    background: bool = False
    prompt: PromptRule = PromptRule.NONE
    price: Price | None = None
    sunset: date | None = None
    free: bool = False
    image_field: str = ""
    count_field: str = ""
    size_field: str = ""
    strength_field: str = ""
    notes: str = ""
    source: str = ""
    checked: date | None = None
