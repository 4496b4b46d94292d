"""Where the source lies in an output of another shape."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from service.core.values import Size
from service.engine.analysis import Source
from service.engine.arrays import FloatArray
from service.engine.boxes import Matrix
from service.engine.focus import best_offset
from service.engine.kinds import PHOTOGRAPHS

_SAME_SHAPE = 1.02
_KEPT_WHOLE = 0.985
_MOST_UNCOVERED = 0.45
_CUT = 0.04


@dataclass(frozen=True, slots=True, eq=False)
class Placing:
    """A position of the source in the output.

    Attributes:
        matrix: 3 x 3, source pixels to output pixels: a scale and a shift.
        scale: Output pixels per source pixel.
        uncovered: Whether part of the output lies outside the source.
    """

    matrix: Matrix = field(repr=False)
    scale: float
    uncovered: bool


def place_source(source: Source, size: Size) -> Placing:
    """The source cropped to ``size``, or whole, whichever its kind and its subject ask for."""
    across, down = size.width / source.size.width, size.height / source.size.height
    cover, contain = max(across, down), min(across, down)
    if cover / contain < _SAME_SHAPE:
        # Within a rounding error of the same shape: stretched by less than anyone sees.
        return Placing(np.diag([across, down, 1.0]).astype(np.float32), cover, uncovered=False)
    if source.kind in PHOTOGRAPHS:
        return _place_photograph(source, size, cover, contain)
    return _placed(source, size, contain, 0.5, 0.5)


def _place_photograph(source: Source, size: Size, cover: float, contain: float) -> Placing:
    """Cropped to the window that keeps what matters; if none does, the smallest that does, the rest to be made up."""
    kept, best = _best_window(source, size, cover)
    if kept >= _KEPT_WHOLE or not source.protect.any():
        return _placed(source, size, cover, *best)
    along_width = size.width / source.size.width < cover  # the crop would take from the left and the right
    weight = source.protect.astype(np.float64)
    # What the extension would uncover lies on the other two sides: a subject that reaches them cannot be extended.
    ends = (weight[:2].mean(), weight[-2:].mean()) if along_width else (weight[:, :2].mean(), weight[:, -2:].mean())
    least = max(contain, cover * (1 - _MOST_UNCOVERED))
    if max(ends) > _CUT:
        return _placed(source, size, cover, *best)
    scale = cover
    while scale > least:
        scale = max(least, scale * 0.96)
        kept, best = _best_window(source, size, scale)
        if kept >= _KEPT_WHOLE:
            break
    return _placed(source, size, scale, *best)


def _best_window(source: Source, size: Size, scale: float) -> tuple[float, tuple[float, float]]:
    """The share of what matters that the best position keeps, and that position, 0..1 along x and y."""
    weight = _weight(source)
    position = []
    kept = 1.0
    for axis, (wanted, have) in enumerate(
        ((size.width, source.size.width * scale), (size.height, source.size.height * scale))
    ):
        profile = weight.sum(0 if axis == 0 else 1)
        share = min(1.0, wanted / have)
        found, place = best_offset(profile, share)
        kept *= found
        position.append(place)
    return kept, (position[0], position[1])


def _weight(source: Source) -> FloatArray:
    """What matters, on the view's grid: what is protected, or else what draws the eye."""
    if source.protect.any():
        return source.protect.astype(np.float32)
    return np.asarray(source.salience**2, np.float32)


def _placed(source: Source, size: Size, scale: float, x: float, y: float) -> Placing:
    free_x, free_y = size.width - source.size.width * scale, size.height - source.size.height * scale
    # Uncovered space is shared out evenly; what is cropped, by content.
    left = free_x * (x if free_x < 0 else 0.5)
    top = free_y * (y if free_y < 0 else 0.5)
    matrix = np.array([[scale, 0, left], [0, scale, top], [0, 0, 1]], np.float32)
    return Placing(matrix, scale, uncovered=free_x > 1 or free_y > 1)
