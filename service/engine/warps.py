"""Moves of a picture within its frame: a zoom, a turn and a shift."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from service.engine.arrays import ByteArray, FloatArray, as_float
from service.engine.boxes import Matrix


@dataclass(frozen=True, slots=True)
class Frame:
    """A framing: what it does to the picture, about the frame's centre.

    Attributes:
        zoom: Above 1 closer, below 1 wider.
        shift_x, shift_y: In pixels.
        turn: In radians.
        score: How good it is; larger is better.
    """

    zoom: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    turn: float = 0.0
    score: float = 0.0

    def matrix(self, width: int, height: int) -> Matrix:
        """2 x 3: pixels before to pixels after, in a frame of this size."""
        return similarity(width, height, self.zoom, self.shift_x, self.shift_y, self.turn)


def similarity(width: int, height: int, zoom: float, shift_x: float, shift_y: float, turn: float) -> Matrix:
    """2 x 3: a zoom and a turn (radians) about the centre of a frame, then a shift."""
    cosine, sine = math.cos(turn) * zoom, math.sin(turn) * zoom
    x, y = width / 2, height / 2
    return np.array(
        [
            [cosine, -sine, x + shift_x - cosine * x + sine * y],
            [sine, cosine, y + shift_y - sine * x - cosine * y],
        ],
        np.float32,
    )


def move(picture: FloatArray, matrix: Matrix, border: FloatArray | None = None) -> FloatArray:
    """``picture`` moved by a 2 x 3 matrix in a frame of its own size; outside of it ``border``, or its reflection."""
    height, width = picture.shape[:2]
    closer = float(np.linalg.det(matrix[:, :2])) > 1
    method = cv2.INTER_CUBIC if closer else cv2.INTER_AREA
    mode = cv2.BORDER_REFLECT_101 if border is None else cv2.BORDER_CONSTANT
    values = (0.0,) * 4 if border is None else (*(float(value) for value in np.atleast_1d(border)), 0.0)
    found = cv2.warpAffine(picture, matrix, (width, height), flags=method, borderMode=mode, borderValue=values)
    return np.clip(found, 0, 1)


def move_mask(mask: FloatArray, matrix: Matrix) -> FloatArray:
    """H x W moved by a 2 x 3 matrix; 0 outside."""
    height, width = mask.shape
    return np.asarray(np.clip(cv2.warpAffine(mask, matrix, (width, height)), 0, 1), np.float32)


def move_detailed(detail: ByteArray, matrix: Matrix, width: int, height: int) -> FloatArray:
    """A picture of a higher resolution than its frame, moved by a matrix in the frame's pixels; reflected outside."""
    across, down = detail.shape[1] / width, detail.shape[0] / height
    stretched = (np.vstack([matrix, [0, 0, 1]]) @ np.diag([1 / across, 1 / down, 1.0]))[:2].astype(np.float32)
    scale = math.sqrt(abs(float(np.linalg.det(stretched[:, :2]))))
    picture = as_float(detail)
    if scale < 0.8:  # a warp alone would skip pixels
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.45 / scale), np.float32)
    method = cv2.INTER_LANCZOS4 if scale > 1 else cv2.INTER_CUBIC
    found = cv2.warpAffine(picture, stretched, (width, height), flags=method, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(np.clip(found, 0, 1), np.float32)
