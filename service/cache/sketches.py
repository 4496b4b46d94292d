"""Sketches: the 56 bytes that an index holds of an entry. One number says where in colour space the entry lies."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from service.cache.entries import ID_BYTES
from service.imaging.perceptual_key import MAX_LAYOUT, PerceptualKey

KEY_WORDS: Final = 4

# The sort key of an entry: 42 bits of its bucket, then its cell in a grid over the mean Lab colour, L slowest.
_A_BITS: Final = 8
_B_BITS: Final = 8
_CELL_BITS: Final = 6 + _A_BITS + _B_BITS
_CELL_MASK: Final = (1 << _CELL_BITS) - 1
# Smaller cells follow the ball more closely, and there are more of them to look into. Measured: 2 is quickest.
_CELL: Final = 2.0
# Lab's a and b lie within -128 and 128, L within 0 and 100. Values beyond count as of the first or last cell.
_OFFSETS: Final = (0.0, 128.0, 128.0)
_COUNTS: Final = (1 << 6, 1 << _A_BITS, 1 << _B_BITS)
# Layouts are compared in single precision; what lies on the very edge must not be lost to rounding here.
_RADIUS: Final = MAX_LAYOUT + 0.01

SKETCH: Final = np.dtype([("place", "<u8"), ("id", f"V{ID_BYTES}"), ("key", "<u8", (KEY_WORDS,))])
"""An entry in an index: its place in sort order, its id, and its look's 256 bits."""


def sketch(entry_id: str, bucket: bytes, look: PerceptualKey) -> bytes:
    """The sketch of an entry as bytes of the type ``SKETCH``."""
    cells = [_cell(value, axis) for axis, value in enumerate(_mean_colour(look))]
    place = _bucket_place(bucket) | (cells[0] << (_A_BITS + _B_BITS)) | (cells[1] << _B_BITS) | cells[2]
    row = np.zeros((), SKETCH)
    row["place"] = place
    row["id"] = np.void(bytes.fromhex(entry_id))
    row["key"] = key_words(look.key)
    return row.tobytes()


def key_words(key: bytes) -> npt.NDArray[np.uint64]:
    """The 256 bits of a look as four numbers, in the order in which sketches hold them."""
    return np.frombuffer(key, "<u8").astype(np.uint64)


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The places where entries of one bucket can lie that are near one look.

    The mean of two layouts' colours differs by no more than the mean of their colours' differences (the triangle
    inequality), so whatever is within ``MAX_LAYOUT`` lies in a ball of that radius around the look's mean colour.

    Attributes:
        bucket: The part of ``place`` that all entries of the bucket share.
        starts, ends: Half-open intervals of ``place``, ascending, that cover the ball.
        words: The look's 256 bits.
    """

    bucket: int
    starts: npt.NDArray[np.uint64] = field(repr=False)
    ends: npt.NDArray[np.uint64] = field(repr=False)
    words: npt.NDArray[np.uint64] = field(repr=False)

    @classmethod
    def of(cls, bucket: bytes, look: PerceptualKey) -> Neighbourhood:
        light, a, b = _mean_colour(look)
        base = _bucket_place(bucket)
        starts, ends = [], []
        for light_cell, light_gap in _cells_around(light, 0, _RADIUS):
            radius = math.sqrt(max(0.0, _RADIUS**2 - light_gap**2))
            for a_cell, a_gap in _cells_around(a, 1, radius):
                reach = math.sqrt(max(0.0, radius**2 - a_gap**2))
                row = base | (light_cell << (_A_BITS + _B_BITS)) | (a_cell << _B_BITS)
                starts.append(row | _cell(b - reach, 2))
                ends.append((row | _cell(b + reach, 2)) + 1)
        return cls(base, np.array(starts, np.uint64), np.array(ends, np.uint64), key_words(look.key))


def in_bucket(places: npt.NDArray[np.uint64], bucket: int) -> npt.NDArray[np.bool_]:
    """Which places belong to the bucket of a ``Neighbourhood``."""
    mine: npt.NDArray[np.bool_] = (places >> np.uint64(_CELL_BITS)) == np.uint64(bucket >> _CELL_BITS)
    return mine


def _bucket_place(bucket: bytes) -> int:
    return int.from_bytes(bucket[:8], "big") & ~_CELL_MASK


def _mean_colour(look: PerceptualKey) -> tuple[float, float, float]:
    light, a, b = look.layout.astype(np.float64).mean(0)
    return float(light), float(a), float(b)


def _cell(value: float, axis: int) -> int:
    return min(max(math.floor((value + _OFFSETS[axis]) / _CELL), 0), _COUNTS[axis] - 1)


def _cells_around(value: float, axis: int, reach: float) -> list[tuple[int, float]]:
    """The cells of an axis within reach of a value, each with the gap between them."""
    cells = []
    for cell in range(_cell(value - reach, axis), _cell(value + reach, axis) + 1):
        # The first and last cell hold everything beyond them too, as ``_cell`` puts it there.
        low = -math.inf if cell == 0 else cell * _CELL - _OFFSETS[axis]
        high = math.inf if cell == _COUNTS[axis] - 1 else (cell + 1) * _CELL - _OFFSETS[axis]
        cells.append((cell, max(0.0, low - value, value - high)))
    return cells
