"""Which kind of picture it is: each kind is varied in its own way."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from service.engine.arrays import ByteArray, FloatArray, luma
from service.engine.detect import Findings
from service.engine.ground import Ground, flatness


class Kind(StrEnum):
    """Kinds of pictures.

    PEOPLE and SUBJECT (an animal, a flower, one thing) are photographs with a clear subject, PHOTO any other. PRODUCT
    and GRAPHIC (logo, icon, line art, pixel art) stand on ground of one colour, DARK on black. TRANSPARENT has alpha.
    DOCUMENT is a page or a screen. FLAT has nothing on it.
    """

    PHOTO = "photo"
    PEOPLE = "people"
    SUBJECT = "subject"
    PRODUCT = "product"
    GRAPHIC = "graphic"
    DARK = "dark"
    TRANSPARENT = "transparent"
    DOCUMENT = "document"
    FLAT = "flat"


PHOTOGRAPHS = frozenset({Kind.PHOTO, Kind.PEOPLE, Kind.SUBJECT})
FIGURES = frozenset({Kind.PRODUCT, Kind.GRAPHIC, Kind.DARK})

_PLAIN_SHARE = 0.85
_MOST_FIGURE = 0.9
_BLACK = 4.0
_NEARLY_BLACK = 12.0
_PALE = 80.0
_FLAT_FIGURE = 0.62
_SMALL_FIGURE = 0.12


def surface_kind(
    pixels: ByteArray,
    image: FloatArray,
    ground: Ground,
    figure: ByteArray,
    findings: Findings,
    *,
    has_alpha: bool,
    has_letters: bool,
    is_grey: bool,
    is_pixel_art: bool,
) -> Kind:
    """The kind of a picture by its ground, its flatness and its text; PHOTO for every kind of photograph.

    Args:
        image: ``pixels`` as floats in 0..1.
        has_letters: Whether most of its small shapes stand in rows, as letters do.
    """
    if has_alpha:
        return Kind.TRANSPARENT
    flat = flatness(pixels, 2)
    if _is_document(findings, flat, pixels.shape[0] * pixels.shape[1], has_letters):
        return Kind.DOCUMENT
    covered = float(figure.mean())
    lightness = float(ground.lab[0])
    plain = ground.share > _PLAIN_SHARE and 0 < covered < _MOST_FIGURE
    if plain and lightness < _NEARLY_BLACK:
        shows_something = float(np.percentile(luma(image), 97)) > 0.2
        return Kind.DARK if lightness < _BLACK and ground.share > 0.96 and shows_something else Kind.PHOTO
    if plain and not findings.faces and (lightness > _PALE or flat > 0.5):
        drawn = flatness(pixels, 3, figure > 0) > _FLAT_FIGURE
        line_art = covered < _SMALL_FIGURE or (is_grey and flat > 0.6)
        return Kind.GRAPHIC if drawn or line_art or is_pixel_art else Kind.PRODUCT
    if flat > 0.97 and not figure.any():
        return Kind.FLAT
    return Kind.PHOTO


def _is_document(findings: Findings, flat: float, pixels: int, has_letters: bool) -> bool:
    lines = len(findings.texts)
    inked = sum(box.area for box in findings.texts) / pixels
    flat_enough = flat > 0.35 or has_letters
    return (
        (lines >= 6 and (inked > 0.1 or has_letters) and flat_enough)
        or (has_letters and lines >= 3)
        or (flat > 0.5 and lines >= 8)
    )
