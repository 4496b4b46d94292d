"""The ground of a picture: whether its border has one colour, which, and what stands out from it."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from service.engine.arrays import ByteArray, FloatArray, as_float, to_lab

_SAME = 7.0
"""CIE76 difference up to which a pixel has the ground's colour."""


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """The colour of a picture's border.

    Attributes:
        lab, rgb: The median colour; rgb in 0..1.
        share: Of the border that has this colour, 0..1.
    """

    lab: FloatArray = field(repr=False)
    rgb: FloatArray = field(repr=False)
    share: float

    @property
    def is_light(self) -> bool:
        return float(self.lab[0]) > 65


def find_ground(pixels: ByteArray) -> Ground:
    """The ground of a picture (H x W x 3 bytes, RGB)."""
    rgb = border_ring(as_float(pixels))
    lab = to_lab(rgb[None])[0]
    middle = np.median(lab, 0).astype(np.float32)
    share = float((np.linalg.norm(lab - middle, axis=1) < _SAME).mean())
    return Ground(lab=middle, rgb=np.median(rgb, 0).astype(np.float32), share=share)


def find_figure(lab: FloatArray, ground: Ground) -> ByteArray:
    """H x W, 1 where the picture (CIE Lab) differs from its ground, but for single pixels."""
    differs = (np.linalg.norm(lab - ground.lab, axis=2) > _SAME).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(differs, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)), np.uint8)


def border_ring(picture: FloatArray) -> FloatArray:
    """The pixels within a hundredth of the short side from the border, as a list: N x channels."""
    depth = max(2, min(picture.shape[:2]) // 100)
    sides = (picture[:depth], picture[-depth:], picture[:, :depth], picture[:, -depth:])
    return np.concatenate([side.reshape(-1, picture.shape[2]) for side in sides])


def flatness(pixels: ByteArray, tolerance: int, where: npt.NDArray[np.bool_] | None = None) -> float:
    """The share of pixels that differ by at most ``tolerance`` from those above and to the left, 0..1.

    Drawings and screens have much of it, photographs little.
    """
    values = pixels.astype(np.int16)
    if min(values.shape[:2]) < 2:
        return 1.0
    down = np.abs(values[1:, 1:] - values[:-1, 1:]).max(2) <= tolerance
    right = np.abs(values[1:, 1:] - values[1:, :-1]).max(2) <= tolerance
    flat = down & right
    if where is None:
        return float(flat.mean())
    inside = flat[where[1:, 1:]]
    return float(inside.mean()) if inside.size else 0.0
