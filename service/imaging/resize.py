"""The one place that changes a picture's size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.core.values import Colour, Size
from service.imaging.picture import Picture

# Sides of the small picture in which a window is looked for: finer than this, grain would count as content.
_LOOK: Final = 128
# A difference of light between neighbours below this (of 255) is grain or a soft background.
_CONTOUR: Final = 6.0
# The least gain for moving a window off the centre, as a share of the picture's content, at the farthest place;
# it grows with the square of the distance. Pictures are mostly composed around the middle.
_CENTRE_PULL: Final = 0.25
# The factor on that gain for moving downwards: heads are at the top, and clothes have more contour than faces.
_UPWARD: Final = 4.0
# A box without extent, a point, counts as this wide.
_LEAST_EXTENT: Final = 1e-3
Window = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Focus:
    """A part of a picture that should stay in it when it is cropped: a face, a subject.

    Attributes:
        box: Left, top, right, bottom; from 0 to 1 of the picture's width and height.
        weight: How much it matters beside the others, above 0.
    """

    box: Window
    weight: float = 1.0


Detector = Callable[[NDArray[np.uint8]], Sequence[Focus]]
"""Finds the parts of a picture that a crop should keep. The picture is an array of shape (height, width, 3), RGB. The
same picture always gives the same result, which may be empty."""
# Faces of a twentieth of the picture's height are still found in a view of this many pixels a side.
_DETECTOR_SIDE: Final = 640


def resize(picture: Picture, size: Size) -> Picture:
    """The whole picture stretched or shrunk to exactly ``size``; the same picture where it has that size."""
    if picture.size == size:
        return picture
    return picture.resampled((0.0, 0.0, float(picture.width), float(picture.height)), size)


def resize_cover(picture: Picture, size: Size) -> Picture:
    """Fills exactly ``size`` with the picture, keeping its proportions: what juts out is cut off, equally on
    both sides. The same picture where it has that size already."""
    if picture.size == size:
        return picture
    width, height = covering(picture.size, size)
    left, top = (picture.width - width) / 2, (picture.height - height) / 2
    return picture.resampled((left, top, left + width, top + height), size)


def cover_by_content(picture: Picture, size: Size, focus: Sequence[Focus] = ()) -> Picture:
    """As ``resize_cover``, with the window where the content is, as ``cover_window`` says.

    Without focus boxes the picture is decoded once more, small, to see where its contours are.
    """
    if picture.size == size:
        return picture
    width, height = covering(picture.size, size)
    contours = None
    if not focus and (picture.width - width >= 1 or picture.height - height >= 1):
        contours = contour_map(picture)
    return picture.resampled(cover_window(picture.size, size, focus, contours), size)


def cover_by_detector(picture: Picture, size: Size, detector: Detector | None = None) -> Picture:
    """As ``cover_by_content``, with the boxes that a detector finds.

    The detector is asked only where something is cut off; it is shown the picture reduced.
    """
    width, height = covering(picture.size, size)
    if detector is None or (picture.width - width < 1 and picture.height - height < 1):
        return cover_by_content(picture, size)
    view = fit_within(picture.flattened(), max_side=_DETECTOR_SIDE, max_pixels=_DETECTOR_SIDE**2).array()
    return cover_by_content(picture, size, detector(view))


def contour_map(picture: Picture) -> NDArray[np.float64]:
    """The amount of contour in each part of a picture: shape (up to 128, up to 128), from its gradients."""
    small = fit_within(picture.flattened(), max_side=_LOOK, max_pixels=_LOOK * _LOOK).array()
    light = small.astype(np.float64) @ (0.299, 0.587, 0.114)
    across = np.abs(np.diff(light, axis=1, prepend=light[:, :1]))
    down = np.abs(np.diff(light, axis=0, prepend=light[:1]))
    return np.maximum(np.hypot(across, down) - _CONTOUR, 0.0)


def cover_window(
    size_in: Size, size_out: Size, focus: Sequence[Focus] = (), contours: NDArray[np.float64] | None = None
) -> Window:
    """The crop of a picture that is to fill another shape: left, top, right, bottom in pixels of the picture.

    The window is the largest with the proportions of ``size_out``, and moves along one side only. It takes in as much
    weight of the focus boxes as it can, whole boxes before parts; without any, as much contour. Of places that are as
    good, the one nearest to the centre is taken, so that an even picture is cropped in the middle.

    Args:
        contours: As ``contour_map`` gives them, where there are no focus boxes. None: the middle is taken.
    """
    width, height = covering(size_in, size_out)
    along_width = size_in.width - width > size_in.height - height
    whole, part = (size_in.width, width) if along_width else (size_in.height, height)
    if focus:
        spans = [(each.box[0], each.box[2]) if along_width else (each.box[1], each.box[3]) for each in focus]
        start = _start_for_boxes(spans, [each.weight for each in focus], part / whole) * whole
    elif contours is not None:
        start = _start_for_contours(
            contours.sum(axis=0 if along_width else 1), part / whole, late=1.0 if along_width else _UPWARD
        )
        start *= whole
    else:
        start = (whole - part) / 2
    start = min(max(0.0, start), whole - part)
    if along_width:
        return start, (size_in.height - height) / 2, start + width, (size_in.height + height) / 2
    return (size_in.width - width) / 2, start, (size_in.width + width) / 2, start + height


def _start_for_boxes(spans: Sequence[tuple[float, float]], weights: Sequence[float], part: float) -> float:
    """The start of a window of length ``part`` of 1. Where its edges meet a box's edges, its score can change."""
    centre, last = (1 - part) / 2, 1 - part
    spans = [(begin, max(end, begin + _LEAST_EXTENT)) for begin, end in spans]
    total = sum(weight * (end - begin) for (begin, end), weight in zip(spans, weights, strict=True))
    middle = (
        sum(weight * (end - begin) * (begin + end) / 2 for (begin, end), weight in zip(spans, weights, strict=True))
        / total
    )
    edges = [start for begin, end in spans for start in (begin, end - part, (begin + end - part) / 2)]
    starts = sorted({min(max(0.0, start), last) for start in (*edges, centre, middle - part / 2)})

    def score(start: float) -> tuple[float, float, float]:
        whole = shown = 0.0
        for (begin, end), weight in zip(spans, weights, strict=True):
            seen = max(0.0, min(end, start + part) - max(begin, start)) / (end - begin)
            whole += weight * (seen > 1 - 1e-6)
            shown += weight * seen
        # Of places that are as good, the one with the boxes nearest to the middle of the window.
        return round(whole, 9), round(shown, 9), -abs(start + part / 2 - middle)

    return max(starts, key=lambda start: (*score(start), -abs(start - centre)))


def _start_for_contours(profile: NDArray[np.float64], part: float, late: float) -> float:
    """The start of the window of length ``part`` of 1 with the most contour, the centre being preferred.

    Args:
        late: The factor on the gain needed to move past the centre.
    """
    total = float(profile.sum())
    centre, last = (1 - part) / 2, 1 - part
    if total <= 0:
        return centre
    summed = np.concatenate(([0.0], np.cumsum(profile))) / total
    places = np.linspace(0, 1, len(summed))
    starts = np.linspace(0, last, 2 * len(profile) + 1)
    held = np.interp(starts + part, places, summed) - np.interp(starts, places, summed)
    distance = np.abs(starts - centre) / max(centre, 1e-9) * np.where(starts > centre, late**0.5, 1.0)
    return float(starts[int(np.argmax(np.round(held - _CENTRE_PULL * distance**2, 9)))])


def contain(picture: Picture, size: Size, ground: Colour | None = None, *, transparent: bool = False) -> Picture:
    """The whole picture in the middle of exactly ``size``, in its own proportions; never enlarged beyond filling it.

    Args:
        ground: The colour around it and behind its transparent parts. None: a blurred, enlarged copy of the picture.
        transparent: Whether there is nothing around it in place of a blurred copy, and its own alpha stays.
    """
    scale = min(size.width / picture.width, size.height / picture.height)
    inner = Size(
        min(size.width, max(1, round(picture.width * scale))), min(size.height, max(1, round(picture.height * scale)))
    )
    if inner == size:
        return resize(picture, size)
    shown = resize(picture, inner).array()
    if ground is None and transparent:
        canvas = np.zeros((size.height, size.width, 4), np.uint8)
    elif ground is not None:
        canvas = np.full((size.height, size.width, 3), ground, np.uint8)
    else:
        # Reduced to a few pixels and enlarged again, which is a wide blur.
        blurred = Size(max(1, round(size.width / _BLUR)), max(1, round(size.height / _BLUR)))
        small = Picture.from_array(resize_cover(picture.flattened(), blurred).array())
        canvas = resize(small, size).array().copy()
    left, top = (size.width - inner.width) // 2, (size.height - inner.height) // 2
    place = canvas[top : top + inner.height, left : left + inner.width]
    if canvas.shape[2] > 3:
        place[..., 3] = 255
        place[..., : shown.shape[2]] = shown
        return Picture.from_array(canvas)
    colour = shown[..., :3]
    if picture.has_alpha:
        alpha = shown[..., 3:].astype(np.uint16)
        colour = ((colour * alpha + place * (255 - alpha) + 127) // 255).astype(np.uint8)
    place[:] = colour
    return Picture.from_array(canvas)


# Pixels of the result to one of the blurred ground's source.
_BLUR: Final = 96


def covering(picture: Size, size: Size) -> tuple[float, float]:
    """Width and height of the largest window of a picture that has the proportions of ``size``."""
    scale = max(size.width / picture.width, size.height / picture.height)
    return min(size.width / scale, picture.width), min(size.height / scale, picture.height)


def crop_square(picture: Picture, detector: Detector | None = None) -> Picture:
    """The largest square of the picture, where the content is; the same picture where it is square."""
    side = min(picture.width, picture.height)
    return cover_by_detector(picture, Size(side, side), detector)


def fit_within(picture: Picture, *, max_side: int, max_pixels: int) -> Picture:
    """Shrinks the picture, keeping its proportions, until both limits hold; never enlarges it.

    Args:
        max_side: Most pixels of either side.
        max_pixels: Most pixels of width times height.
    """
    return resize(picture, size_within(picture.size, max_side=max_side, max_pixels=max_pixels))


def size_within(size: Size, *, max_side: int, max_pixels: int) -> Size:
    """The largest size with the proportions of ``size`` (to the pixel) within both limits; never larger than it."""
    scale = min(1.0, max_side / max(size.width, size.height), math.sqrt(max_pixels / size.pixels))
    if scale == 1.0:
        return size
    width, height = max(1, round(size.width * scale)), max(1, round(size.height * scale))
    if width * height > max_pixels:
        # Rounding up, or a short side that cannot go below 1, is made up for by the long side.
        short, long = sorted((max(1, math.floor(size.width * scale)), max(1, math.floor(size.height * scale))))
        long = min(long, max_pixels // short)
        width, height = (long, short) if size.width >= size.height else (short, long)
    return Size(width, height)
