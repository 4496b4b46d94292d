"""Rectangles of things found in a picture, and how they move with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.engine.arrays import FloatArray

Matrix = npt.NDArray[np.float32]
"""2 x 3 (affine) or 3 x 3 (perspective): source pixel coordinates to output pixel coordinates."""


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle. In pixels, or in shares of a picture's sides where said so."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def area(self) -> float:
        return self.width * self.height

    def scaled(self, x: float, y: float) -> Box:
        return Box(self.left * x, self.top * y, self.width * x, self.height * y)

    def grown(self, left: float, top: float, right: float, bottom: float) -> Box:
        """Larger by shares of its own sides."""
        return Box(
            self.left - left * self.width,
            self.top - top * self.height,
            self.width * (1 + left + right),
            self.height * (1 + top + bottom),
        )

    def overlap(self, other: Box) -> float:
        """Intersection over union, 0..1."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        shared = max(0.0, width) * max(0.0, height)
        return shared / (self.area + other.area - shared + 1e-6)

    def window(self, array: npt.NDArray[np.generic]) -> tuple[slice, slice]:
        """The rows and columns of ``array`` that it covers; may be empty."""
        height, width = array.shape[:2]
        return (
            slice(min(height, max(0, int(self.top))), min(height, max(0, int(self.bottom) + 1))),
            slice(min(width, max(0, int(self.left))), min(width, max(0, int(self.right) + 1))),
        )

    def mean_of(self, array: FloatArray | npt.NDArray[np.bool_]) -> float:
        """The mean of ``array`` under the box; 0 where that is nothing."""
        part = array[self.window(array)]
        return float(part.mean()) if part.size else 0.0


def box_mask(shape: tuple[int, ...], boxes: Iterable[Box]) -> FloatArray:
    """H x W: 1 inside of any box."""
    mask = np.zeros(shape[:2], np.float32)
    for box in boxes:
        mask[box.window(mask)] = 1
    return mask


def moved(boxes: Sequence[Box], matrix: Matrix) -> tuple[Box, ...]:
    """The upright rectangles around ``boxes`` after ``matrix``."""
    found = []
    full = np.eye(3)
    full[: matrix.shape[0]] = matrix
    for box in boxes:
        corners = np.array(
            [[box.left, box.right, box.left, box.right], [box.top, box.top, box.bottom, box.bottom], [1.0] * 4]
        )
        x, y, weight = full @ corners
        x, y = x / weight, y / weight
        found.append(Box(float(x.min()), float(y.min()), float(np.ptp(x)), float(np.ptp(y))))
    return tuple(found)
