"""The images that doubles answer with: real files, of exactly the size asked for, no two alike."""

from __future__ import annotations

import asyncio
import colorsys
import hashlib
import io
from functools import lru_cache

from PIL import Image, ImageDraw, ImageOps

_CELLS = 16
"""Cells in the strip at the bottom, each one bit of a hash: variations differ even where tints look alike."""


async def make_variations(
    source: bytes, count: int, *, size: tuple[int, int] | None = None, file_format: str = "png", seed: int = 0
) -> list[bytes]:
    """``count`` image files made from ``source``, off the event loop.

    Args:
        source: An image file; empty: a plain background instead.
        size: Width and height of the results. None: the source's.
        file_format: A Pillow format name in lower case: png, jpeg, webp, gif.
        seed: The same seed gives the same images, another one gives others.
    """
    return [
        await asyncio.to_thread(make_variation, source, size=size, file_format=file_format, seed=seed, index=index)
        for index in range(count)
    ]


@lru_cache(maxsize=64)
def make_variation(
    source: bytes, *, size: tuple[int, int] | None = None, file_format: str = "png", seed: int = 0, index: int = 0
) -> bytes:
    """One tinted version of the source. Its tint and the strip at its bottom depend on (seed, index) alone."""
    digest = hashlib.sha256(f"{seed}/{index}".encode()).digest()
    image = _background(source, size)
    red, green, blue = colorsys.hsv_to_rgb(digest[0] / 255, 0.4 + digest[1] / 425, 1.0)
    tint = Image.new("RGB", image.size, (round(red * 255), round(green * 255), round(blue * 255)))
    image = Image.blend(image, tint, 0.35)
    _draw_strip(image, int.from_bytes(digest[2:4], "big"))
    buffer = io.BytesIO()
    options: dict[str, int] = {"compress_level": 1} if file_format == "png" else {}
    image.save(buffer, file_format.upper(), **options)
    return buffer.getvalue()


def _background(source: bytes, size: tuple[int, int] | None) -> Image.Image:
    if not source:
        return Image.new("RGB", size or (1024, 1024), (128, 128, 128))
    with Image.open(io.BytesIO(source)) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    return ImageOps.fit(upright, size) if size and size != upright.size else upright


def _draw_strip(image: Image.Image, bits: int) -> None:
    width, height = image.size
    draw = ImageDraw.Draw(image)
    top = height - max(1, height // 24)
    for cell in range(_CELLS):
        left, right = cell * width // _CELLS, (cell + 1) * width // _CELLS - 1
        if right >= left:
            shade = 240 if bits >> cell & 1 else 16
            draw.rectangle((left, top, right, height - 1), fill=(shade, shade, shade))
