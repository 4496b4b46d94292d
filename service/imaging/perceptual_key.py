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

_SIDE: Final = 64
_FREQUENCIES: Final = 16
_CELLS: Final = 8
# Coefficients are compared at this precision, or the rounding errors of a flat picture would decide its key.
_DECIMALS: Final = 6


@dataclass(frozen=True, slots=True, eq=False)
class PerceptualKey:
    """What a picture looks like.

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
    cell = _SIDE // _CELLS
    layout = _to_lab(small).reshape(_CELLS, cell, _CELLS, cell, 3).mean((1, 3)).reshape(-1, 3)
    return PerceptualKey(np.packbits(bits).tobytes(), layout.astype(np.float32))


def hamming(a: bytes, b: bytes) -> int:
    """In how many bits two keys differ, 0 to 256. Unrelated pictures: about 128."""
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count()


def layout_distance(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """The mean colour difference (CIE76) of two layouts' cells."""
    return float(np.linalg.norm(a - b, axis=1).mean())


def is_near(a: PerceptualKey, b: PerceptualKey, max_hamming: int = MAX_HAMMING, max_layout: float = MAX_LAYOUT) -> bool:
    """Whether two keys are those of the same picture. Mirrored or turned, it counts as another."""
    return hamming(a.key, b.key) <= max_hamming and layout_distance(a.layout, b.layout) <= max_layout


def _reduced(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """64 x 64, by area where the picture is larger, without regard to its shape."""
    method = Image.Resampling.BOX if min(rgb.shape[:2]) >= _SIDE else Image.Resampling.BILINEAR
    # One channel after the other: Pillow holds three as four bytes a pixel.
    channels = (Image.fromarray(np.ascontiguousarray(rgb[..., channel])) for channel in range(3))
    return np.stack([np.asarray(each.resize((_SIDE, _SIDE), method)) for each in channels], axis=-1)


@cache
def _cosines() -> npt.NDArray[np.float64]:
    """The first 16 rows of the orthonormal DCT-II of length 64."""
    frequency = np.arange(_FREQUENCIES)[:, None]
    place = np.arange(_SIDE)[None]
    basis = np.cos(np.pi * frequency * (2 * place + 1) / (2 * _SIDE)) * np.sqrt(2 / _SIDE)
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
