"""A key by which the same picture is recognised in another file: recompressed, rescaled or slightly cropped."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

MAX_HAMMING: Final = 60
"""Measured over 58 photos: the farthest of the same picture lies at 54, the nearest of another at 72."""

MAX_LAYOUT: Final = 6.0
"""Mean CIE76 colour difference up to which two layouts count as one picture's."""

MAX_SHARE: Final = 0.5
"""Share of its own structure that two layouts of one picture may differ in. On a white ground nearly all cells are the
same in every picture, so that any two products seem alike by ``MAX_LAYOUT`` alone. Measured on 60 drawn products, 36 of
them nearly white, and 14 photos: of 581 copies within the other bounds (JPEG 80 and 50, smaller ones, up to 2 %
cropped) 3 are beyond it; of 1,770 pairs of different products none is within all bounds."""

MIN_STRUCTURE: Final = 0.3
"""A picture with less than this is a blank: noise decides its key, and nothing is taken for the same."""

SIDE: Final = 64
"""Width and height in pixels that a picture is reduced to before anything is computed of it."""

_FREQUENCIES: Final = 16
_CELLS: Final = 8
# Coefficients are compared at this precision, or the rounding errors of a flat picture would decide its key.
_DECIMALS: Final = 6


@dataclass(frozen=True, slots=True, eq=False)
class PerceptualKey:
    """The look of a picture, in a form that can be compared.

    Attributes:
        key: 32 bytes: for each of the 16 x 16 lowest frequencies of the luma, whether it is above their median.
        layout: 64 x 3 float32: mean CIE Lab colour of each cell of an 8 x 8 grid, row by row.
    """

    key: bytes = field(repr=False)
    layout: npt.NDArray[np.float32] = field(repr=False)


def perceptual_key(rgb: npt.NDArray[np.uint8]) -> PerceptualKey:
    """The key of a picture: H x W x 3 bytes, sRGB, of any size.

    A DCT hash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010) with four
    times the usual bits, and the colours, which the hash does not see.

    Raises:
        ValueError: ``rgb`` has another shape or type, or no pixels.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape or rgb.dtype != np.uint8:
        raise ValueError(f"expected an array of bytes of shape (height, width, 3), got {rgb.dtype} {rgb.shape}")
    small = _reduced(rgb).astype(np.float64) / 255
    luma = small @ np.array([0.299, 0.587, 0.114])
    basis = _cosines()
    coefficients = np.round(basis @ luma @ basis.T, _DECIMALS).ravel()
    # The mean brightness is no frequency: it takes no part in the median, and its bit says nothing.
    bits = coefficients > np.median(coefficients[1:])
    bits[0] = False
    cell = SIDE // _CELLS
    layout = _to_lab(small).reshape(_CELLS, cell, _CELLS, cell, 3).mean((1, 3)).reshape(-1, 3)
    return PerceptualKey(np.packbits(bits).tobytes(), layout.astype(np.float32))


def hamming(a: bytes, b: bytes) -> int:
    """In how many bits two keys differ, 0 to 256. Unrelated pictures: about 128."""
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count()


def layout_distance(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """The mean colour difference (CIE76) of two layouts' cells."""
    return float(np.linalg.norm(a - b, axis=1).mean())


def structure(layout: npt.NDArray[np.float32]) -> float:
    """The mean distance of a layout's cells from their median colour (CIE76); 0 for a picture of one colour."""
    return float(np.linalg.norm(layout - np.median(layout, axis=0), axis=1).mean())


def same_colours(a: PerceptualKey, b: PerceptualKey, max_layout: float = MAX_LAYOUT) -> bool:
    """Whether the layouts of two keys may be those of one picture: near each other, also beside what is in them."""
    weaker = min(structure(a.layout), structure(b.layout))
    return weaker >= MIN_STRUCTURE and layout_distance(a.layout, b.layout) <= min(max_layout, MAX_SHARE * weaker)


def is_near(a: PerceptualKey, b: PerceptualKey, max_hamming: int = MAX_HAMMING, max_layout: float = MAX_LAYOUT) -> bool:
    """Whether two keys are those of the same picture. Mirrored or turned, it counts as another."""
    return hamming(a.key, b.key) <= max_hamming and same_colours(a, b, max_layout)


def _reduced(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """64 x 64, by area where the picture is larger, without regard to its shape."""
    method = Image.Resampling.BOX if min(rgb.shape[:2]) >= SIDE else Image.Resampling.BILINEAR
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    return np.asarray(picture.resize((SIDE, SIDE), method))


@cache
def _cosines() -> npt.NDArray[np.float64]:
    """The first 16 rows of the orthonormal DCT-II of length 64."""
    frequency = np.arange(_FREQUENCIES)[:, None]
    place = np.arange(SIDE)[None]
    basis = np.cos(np.pi * frequency * (2 * place + 1) / (2 * SIDE)) * np.sqrt(2 / SIDE)
    basis[0] /= np.sqrt(2)
    basis.setflags(write=False)
    return np.asarray(basis, np.float64)


def _to_lab(rgb: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """sRGB 0..1 to CIE Lab under D65 (IEC 61966-2-1, CIE 15)."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    to_xyz = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
    xyz = linear @ to_xyz.T / np.array([0.950456, 1.0, 1.088754])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)
