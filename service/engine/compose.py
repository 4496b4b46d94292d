"""The placement of the source in an output of another shape."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from service.core.values import Size
from service.engine.analysis import Source
from service.engine.arrays import FloatArray, as_float, shrink_to, to_lab
from service.engine.boxes import Matrix, box_mask
from service.engine.ground import find_figure
from service.engine.kinds import FIGURES, PHOTOGRAPHS

_SAME_SHAPE = 1.02
_KEPT_WHOLE = 0.985
_MOST_UNCOVERED = 0.45
_CUT = 0.04
_HIGH = 0.1
_HEADS_TO_BODY = 20.0


# Places that keep this much less of the profile than the best one count as equally good.
_AS_GOOD = 0.004


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
    x, y = _held_sides(source)
    return _placed(source, size, contain, 0.5, 0.5, uncovered=(x, y))


def _place_photograph(source: Source, size: Size, cover: float, contain: float) -> Placing:
    """Cropped to the window that keeps what matters; if none does, the smallest that does, the rest to be made up."""
    kept, best = _best_window(source, size, cover)
    if not source.sees_faces:  # heads that nobody has found are at the top
        best = (best[0], min(best[1], _HIGH))
    if kept >= _KEPT_WHOLE or not source.protect.any():
        return _placed(source, size, cover, *best)
    along_width = size.width / source.size.width < cover  # the crop would take from the left and the right
    weight = source.protect.astype(np.float64)
    # The extension would add area on the other two sides: a subject that reaches them cannot be extended.
    ends = (weight[:2].mean(), weight[-2:].mean()) if along_width else (weight[:, :2].mean(), weight[:, -2:].mean())
    # Text that does not fit is no text any more: for it, any amount is made up.
    least = contain if source.texts else max(contain, cover * (1 - _MOST_UNCOVERED))
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
    """Importance on the view's grid: the protected areas, or else the salience."""
    if source.protect.any():
        weight = source.protect.astype(np.float32)
        height, width = weight.shape
        # A body may be cut, a head may not, however little of the picture it is.
        heads = [face.scaled(width, height).grown(0.2, 0.55, 0.2, 0.25) for face in source.faces]
        mask = box_mask(weight.shape, heads)
        if mask.any():
            weight += mask * np.float32(_HEADS_TO_BODY * float(weight.sum()) / float(mask.sum()))
        return weight
    return np.asarray(source.salience**2, np.float32)


def _held_sides(source: Source) -> tuple[float, float]:
    """The picture's place in the free space, 0..1 along x and y: at the side that cuts its figure, or centred."""
    if source.alpha is not None:
        ink = source.alpha > 128
    elif source.kind in FIGURES:
        small = shrink_to(source.pixels, 256)
        ink = find_figure(to_lab(as_float(small)), source.ground) > 0
    else:
        return 0.5, 0.5
    depth = max(2, min(ink.shape) // 150)
    left, right = ink[:, :depth].mean() > _CUT, ink[:, -depth:].mean() > _CUT
    top, bottom = ink[:depth].mean() > _CUT, ink[-depth:].mean() > _CUT
    return 0.5 + 0.5 * (float(right) - float(left)), 0.5 + 0.5 * (float(bottom) - float(top))


def _placed(
    source: Source, size: Size, scale: float, x: float, y: float, uncovered: tuple[float, float] = (0.5, 0.5)
) -> Placing:
    """The source at ``scale``: cropped at ``x``, ``y``, or placed at ``uncovered`` where it is smaller."""
    free_x, free_y = size.width - source.size.width * scale, size.height - source.size.height * scale
    left = free_x * (x if free_x < 0 else uncovered[0])
    top = free_y * (y if free_y < 0 else uncovered[1])
    matrix = np.array([[scale, 0, left], [0, scale, top], [0, 0, 1]], np.float32)
    return Placing(matrix, scale, uncovered=free_x > 1 or free_y > 1)


def best_offset(profile: npt.NDArray[Any], share: float) -> tuple[float, float]:
    """Slides a window of ``share`` of a profile's length along it.

    Returns:
        The share of the profile's sum that the window keeps at best, and where it lies then: 0 at the start, 1 at the
        end. Of equally good places the one in the middle of them, so that there is room on both sides.
    """
    length = len(profile)
    window = max(1, round(share * length))
    if window >= length:
        return 1.0, 0.5
    sums = np.concatenate([[0.0], np.cumsum(profile, dtype=np.float64)])
    kept = (sums[window:] - sums[:-window]) / max(1e-9, float(sums[-1]))
    good = np.flatnonzero(kept >= kept.max() - _AS_GOOD)
    chosen = good[np.argmin(np.abs(good - good.mean()))]
    return float(kept[chosen]), float(chosen / (length - window))
