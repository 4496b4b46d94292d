"""The one place that changes an image's size."""

from __future__ import annotations

import math

from PIL import Image

from service.core.values import Size

_FILTER = Image.Resampling.LANCZOS
# Pillow shrinks by whole factors with a box filter first, down to this many times the target, which is
# several times faster than Lanczos alone and not visibly different (Pillow's reducing_gap, >= 3).
_REDUCING_GAP = 3.0


def resize(image: Image.Image, size: Size) -> Image.Image:
    """The whole image stretched or shrunk to exactly ``size``; the same image where it has that size."""
    return _resize_box(image, size, (0.0, 0.0, float(image.width), float(image.height)))


def resize_cover(image: Image.Image, size: Size) -> Image.Image:
    """Fills exactly ``size`` with the image, keeping its proportions: what juts out is cut off, equally on
    both sides. The same image where it has that size already."""
    scale = max(size.width / image.width, size.height / image.height)
    width, height = min(size.width / scale, image.width), min(size.height / scale, image.height)
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return _resize_box(image, size, (left, top, left + width, top + height))


def crop_square(image: Image.Image) -> Image.Image:
    """The largest square in the middle of the image; the same image where it is square."""
    side = min(image.size)
    if image.width == image.height:
        return image
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def fit_within(image: Image.Image, *, max_side: int, max_pixels: int) -> Image.Image:
    """Shrinks the image, keeping its proportions, until both limits hold; never enlarges it.

    Args:
        max_side: Most pixels of either side.
        max_pixels: Most pixels of width times height.
    """
    return resize(image, size_within(Size(image.width, image.height), max_side=max_side, max_pixels=max_pixels))


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


def _resize_box(image: Image.Image, size: Size, box: tuple[float, float, float, float]) -> Image.Image:
    if image.size == (size.width, size.height):
        return image
    return image.resize((size.width, size.height), _FILTER, box=box, reducing_gap=_REDUCING_GAP)
