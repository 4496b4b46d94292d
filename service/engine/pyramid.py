"""The scales at which a hole is filled, and everything reduced to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from service.engine.arrays import ByteArray, FloatArray, resize
from service.engine.patch_constants import PATCH

_COARSEST = 32
_WORKING_SIDE = 256
_RATIO = 0.62
_SMALLEST_SIDE = PATCH + 4  # fewer pixels hold too few different patches


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """One scale. ``unknown`` and ``allowed`` are shares in 0..1 where a pixel covers both kinds.

    ``fine`` levels, beyond the working size, only refine what the others found.
    """

    scale: float
    fine: bool
    target: FloatArray = field(repr=False)
    unknown: FloatArray = field(repr=False)
    exemplar: FloatArray = field(repr=False)
    allowed: FloatArray = field(repr=False)


def choose_scales(target_shape: tuple[int, ...], exemplar_shape: tuple[int, ...]) -> tuple[list[float], list[float]]:
    """Scales to search at in full, and finer ones that refine; each list from coarse to fine, the last scale 1."""
    longest = max(target_shape[:2])
    shortest = min(*target_shape[:2], *exemplar_shape[:2])
    # A strip needs a larger working scale than a square, or nothing of its height would be left.
    top = min(1.0, max(_WORKING_SIDE / longest, _SMALLEST_SIDE / shortest))
    searched = [top]
    while longest * searched[0] * _RATIO >= _COARSEST and shortest * searched[0] * _RATIO > _SMALLEST_SIDE - 1:
        searched.insert(0, searched[0] * _RATIO)
    refined: list[float] = []
    scale = top
    while scale < 1.0:
        scale = min(1.0, scale * 2)
        refined.append(scale)
    return searched, refined


def build_pyramid(target: FloatArray, unknown: ByteArray, exemplar: FloatArray, allowed: ByteArray) -> Iterator[Level]:
    """Levels from coarse to fine. Each is released as the next is asked for, if the caller lets it go."""
    searched, refined = choose_scales(target.shape, exemplar.shape)
    reductions = []
    layers = (target, unknown.astype(np.float32), exemplar, allowed.astype(np.float32))
    # Each from the next finer one: far cheaper than each from the original.
    for scale in reversed(searched + refined):
        target_height, target_width = _reduced(target.shape, scale)
        exemplar_height, exemplar_width = _reduced(exemplar.shape, scale)
        layers = (
            resize(layers[0], target_height, target_width, cv2.INTER_AREA),
            resize(layers[1], target_height, target_width, cv2.INTER_AREA),
            resize(layers[2], exemplar_height, exemplar_width, cv2.INTER_AREA),
            resize(layers[3], exemplar_height, exemplar_width, cv2.INTER_AREA),
        )
        reductions.append((scale, layers))
    fine_from = len(searched)
    for number in range(len(reductions)):
        scale, (level_target, level_unknown, level_exemplar, level_allowed) = reductions.pop()
        yield Level(scale, number >= fine_from, level_target, level_unknown, level_exemplar, level_allowed)


def _reduced(shape: tuple[int, ...], scale: float) -> tuple[int, int]:
    return max(PATCH + 1, round(shape[0] * scale)), max(PATCH + 1, round(shape[1] * scale))
