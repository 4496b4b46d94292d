"""What Stability AI's models take, whether Stability or Amazon serves them: their operations and knobs.

Names, ranges and defaults are those of Stability's v2beta reference and of the Bedrock model parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from service.core.calls import ProviderCall
from service.core.values import Size
from service.providers import wire

ASPECT_RATIOS = ("1:1", "2:3", "3:2", "4:5", "5:4", "9:16", "16:9", "9:21", "21:9")

DEFAULT_STRENGTH = 0.6
"""The default departure of image-to-image from its input; the vendor demands a value."""

_LARGEST_SEED = 4_294_967_294


@dataclass(frozen=True, slots=True)
class Operation:
    """One way to make an image from an image.

    Attributes:
        image_fields: The fields that take the source. Style transfer takes it twice: its own style, redrawn.
        knob: The field that strength sets.
        to_knob: Maps strength, from 0 (subtle) to 1 (bold), to the value of the knob.
        default: The knob's value where no strength is given; None leaves it to the vendor.
        fixed: Fields that are always the same.
        takes_ratio: Whether the output's shape is asked for by ``aspect_ratio``; else it follows the input.
        needs_prompt: Whether ``prompt`` must be there, be it empty.
    """

    image_fields: tuple[str, ...]
    knob: str
    to_knob: Callable[[float], float]
    default: float | None = None
    fixed: tuple[tuple[str, str], ...] = ()
    takes_ratio: bool = False
    needs_prompt: bool = True


def _same(strength: float) -> float:
    return strength


def _inverse(strength: float) -> float:
    return 1.0 - strength


def _at_least_a_tenth(strength: float) -> float:
    return max(0.1, strength)


IMAGE_TO_IMAGE = Operation(("image",), "strength", _same, default=DEFAULT_STRENGTH, fixed=(("mode", "image-to-image"),))
ULTRA = Operation(("image",), "strength", _same, default=DEFAULT_STRENGTH)
STRUCTURE = Operation(("image",), "control_strength", _inverse)
STYLE = Operation(("image",), "fidelity", _inverse, takes_ratio=True)
STYLE_TRANSFER = Operation(("init_image", "style_image"), "change_strength", _at_least_a_tenth, needs_prompt=False)

OPERATIONS: Mapping[str, Operation] = {
    "image-to-image": IMAGE_TO_IMAGE,
    "ultra": ULTRA,
    "structure": STRUCTURE,
    "style": STYLE,
    "style-transfer": STYLE_TRANSFER,
}
"""By the name that configuration uses."""


def fields(operation: Operation, call: ProviderCall) -> dict[str, Any]:
    """The request's fields but for the images.

    Strength sets ``strength`` (image-to-image, ultra: as it is), ``control_strength`` (structure: 1 - strength),
    ``fidelity`` (style: 1 - strength) or ``change_strength`` (style transfer: at least 0.1).
    """
    result: dict[str, Any] = dict(operation.fixed)
    if call.prompt or operation.needs_prompt:
        result["prompt"] = call.prompt
    knob = operation.default if call.strength is None else operation.to_knob(call.strength)
    if knob is not None:
        result[operation.knob] = round(knob, 4)
    if operation.takes_ratio:
        result["aspect_ratio"] = wire.nearest_ratio(_wanted_shape(call), ASPECT_RATIOS)
    if call.seed is not None:
        result["seed"] = vendor_seed(call.seed)
    if call.output_format is not None:
        result["output_format"] = call.output_format.value
    return result


def vendor_seed(seed: int) -> int:
    """Our seeds 0 to 2**32-1 in the vendor's range 1 to 2**32-2, where 0 would mean 'any seed'.

    Neighbours stay different, since a fan-out counts the seed up.
    """
    return (seed - 1) % _LARGEST_SEED + 1


def _wanted_shape(call: ProviderCall) -> Size:
    # The vendor's default is a square, whatever the input: a variation should keep its shape.
    return call.size or call.image.size
