"""Puts pictures side by side, each with its name, so that they can be compared at a glance."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from service.core.values import Size
from service.imaging.decode import decode, flatten
from service.imaging.inspect import ImageLimits
from service.imaging.resize import fit_within

CELL = 320
"""Longest side of a picture on the sheet, in pixels."""

_MARGIN = 16
_LABEL = 28
_MOST_COLUMNS = 4
_PAPER = (250, 250, 250)
_INK = (40, 40, 40)


def contact_sheet(pictures: Sequence[tuple[str, bytes]]) -> Image.Image:
    """A sheet with every picture (label and image file), in rows of at most four; at least one is needed.

    Raises:
        GatewayError: INVALID_REQUEST ``invalid_image`` when one of them is not an image.
    """
    columns = min(_MOST_COLUMNS, len(pictures), max(2, math.ceil(math.sqrt(len(pictures)))))
    rows = math.ceil(len(pictures) / columns)
    step = CELL + _MARGIN
    sheet = Image.new("RGB", (columns * step + _MARGIN, rows * (step + _LABEL) + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=16)
    for position, (label, data) in enumerate(pictures):
        left = _MARGIN + position % columns * step
        top = _MARGIN + position // columns * (step + _LABEL)
        picture = decode(data, limits=ImageLimits(), at_least=Size(CELL, CELL))
        picture = flatten(fit_within(picture, max_side=CELL, max_pixels=CELL * CELL))
        sheet.paste(picture, (left + (CELL - picture.width) // 2, top + (CELL - picture.height) // 2))
        draw.text((left + CELL / 2, top + CELL + 6), _shortened(label, font), _INK, font=font, anchor="ma")
    return sheet


def _shortened(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The label, with its middle left out where it is wider than a cell."""
    keep = len(label)
    text = label
    while font.getlength(text) > CELL and keep > 2:
        keep -= 1
        text = f"{label[: keep // 2]}…{label[len(label) - (keep - keep // 2) :]}"
    return text
