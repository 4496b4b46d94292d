"""Puts pictures side by side, each with its name, so that they can be compared at a glance."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from service.imaging.decode import decode, flatten
from service.imaging.inspect import ImageLimits
from service.imaging.resize import fit_within

CELL = 320
"""Longest side of a picture on the sheet, in pixels."""

# Leaves room for a label below pictures that are tall and narrow.
_NARROWEST = 160
_MARGIN = 16
_LABEL = 28
_MOST_COLUMNS = 4
_PAPER = (250, 250, 250)
_INK = (40, 40, 40)


def contact_sheet(pictures: Sequence[tuple[str, bytes]]) -> Image.Image:
    """A sheet with every picture (label and image file), in rows of at most four; at least one is needed.

    The cells are as wide as the widest picture and as tall as the tallest, so that no paper is left bare between them.

    Raises:
        GatewayError: INVALID_REQUEST ``invalid_image`` when one of them is not an image.
    """
    shown = [(label, _reduced(data)) for label, data in pictures]
    width = max(_NARROWEST, *(picture.width for _, picture in shown))
    height = max(picture.height for _, picture in shown)
    columns = min(_MOST_COLUMNS, len(shown), max(2, math.ceil(math.sqrt(len(shown)))))
    rows = math.ceil(len(shown) / columns)
    across, down = width + _MARGIN, height + _MARGIN + _LABEL
    sheet = Image.new("RGB", (columns * across + _MARGIN, rows * down + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=16)
    for position, (label, picture) in enumerate(shown):
        left = _MARGIN + position % columns * across
        top = _MARGIN + position // columns * down
        sheet.paste(picture, (left + (width - picture.width) // 2, top + (height - picture.height) // 2))
        draw.text((left + width / 2, top + height + 6), _shortened(label, font, width), _INK, font=font, anchor="ma")
    return sheet


def _reduced(data: bytes) -> Image.Image:
    picture = fit_within(decode(data, limits=ImageLimits()), max_side=CELL, max_pixels=CELL * CELL)
    return Image.fromarray(flatten(picture).array())


def _shortened(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The label, with its middle left out where it is wider than its cell."""
    keep = len(label)
    text = label
    while font.getlength(text) > width and keep > 2:
        keep -= 1
        text = f"{label[: keep // 2]}…{label[len(label) - (keep - keep // 2) :]}"
    return text
