"""The one place that changes a picture's size."""

from __future__ import annotations

import math

from service.core.values import Size
from service.imaging.picture import Picture


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


def covering(picture: Size, size: Size) -> tuple[float, float]:
    """Width and height of the largest window of a picture that has the proportions of ``size``."""
    scale = max(size.width / picture.width, size.height / picture.height)
    return min(size.width / scale, picture.width), min(size.height / scale, picture.height)


def crop_square(picture: Picture) -> Picture:
    """The largest square in the middle of the picture; the same picture where it is square."""
    side = min(picture.width, picture.height)
    if picture.width == picture.height:
        return picture
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.resampled((left, top, left + side, top + side), Size(side, side))


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
