"""Makes up what lies outside of a picture, from its own patches."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from service.core.values import Size
from service.engine.analysis import Source
from service.engine.arrays import ByteArray, FloatArray, as_float, dilate, gaussian_blur, resize, unit
from service.engine.boxes import Matrix
from service.engine.compose import Placing
from service.engine.fill import Hole, fill

_MOST_SHARPENED = 1.7
_EXTENSION_SEED = 1
"""A source is always extended to a shape in the same way, whatever the request's seed."""

_LEAST_SIDE = 16


def extend(
    source: Source, placing: Placing, size: Size, image: FloatArray, checkpoint: Callable[[], None]
) -> FloatArray:
    """``image``, in which the source was placed, with what it left uncovered made up."""
    height = max(_LEAST_SIDE, round(source.size.height * placing.scale))
    width = max(_LEAST_SIDE, round(source.size.width * placing.scale))
    exemplar = as_float(resize(source.pixels, height, width))
    forbid = resize(source.forbid, height, width, cv2.INTER_NEAREST)
    unknown = _outside(placing.matrix[:2], (source.size.height, source.size.width), size)
    rows = np.arange(size.height, dtype=np.float32)[:, None] - np.float32(placing.matrix[1, 2])
    return _filled(image, unknown, exemplar, forbid, np.repeat(rows, size.width, 1), _EXTENSION_SEED, checkpoint)


def widen(
    image: FloatArray, forbid: ByteArray, matrix: Matrix, seed: int, checkpoint: Callable[[], None]
) -> tuple[FloatArray, ByteArray]:
    """``image`` (H x W x 3 in 0..1) moved by ``matrix`` (2 x 3, zooming out), with what that uncovers made up.

    Returns:
        The new image, and 1 where it is made up.
    """
    height, width = image.shape[:2]
    zoom = math.hypot(float(matrix[0, 0]), float(matrix[1, 0]))
    rows, columns = max(_LEAST_SIDE, round(height * zoom)), max(_LEAST_SIDE, round(width * zoom))
    exemplar = resize(image, rows, columns)
    target = unit(
        cv2.warpAffine(
            image, matrix, (width, height), flags=cv2.INTER_AREA | cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
    )
    unknown = _outside(matrix, (height, width), Size(width, height))
    inverse = cv2.invertAffineTransform(matrix)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    expected = ((inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]) * zoom).astype(np.float32)
    shrunk = resize(forbid, rows, columns, cv2.INTER_NEAREST)
    filled = _filled(target, unknown, exemplar, shrunk, expected, seed, checkpoint)
    return filled, unknown


def _outside(matrix: Matrix, shape: tuple[int, int], size: Size) -> ByteArray:
    """1 where ``matrix`` brings nothing of a picture of ``shape`` (rows, columns) to, and on a thin seam around."""
    covered = cv2.warpAffine(
        np.full(shape, 255, np.uint8), np.asarray(matrix, np.float32), (size.width, size.height), flags=cv2.INTER_LINEAR
    )
    return dilate(np.asarray(covered < 250, np.uint8), 3)


def _filled(
    target: FloatArray,
    unknown: ByteArray,
    exemplar: FloatArray,
    forbid: ByteArray,
    expected_rows: FloatArray,
    seed: int,
    checkpoint: Callable[[], None],
) -> FloatArray:
    last = np.float32(exemplar.shape[0] - 1)
    expected = np.abs(expected_rows)
    expected = np.where(expected > last, np.maximum(2 * last - expected, 0), expected).astype(np.float32)
    allowed = np.asarray(forbid == 0, np.uint8)
    hole = Hole(np.ascontiguousarray(target), unknown, np.ascontiguousarray(exemplar), allowed, expected)
    filled = np.clip(fill(hole, seed & 0xFFFF, checkpoint), 0, 1)
    return _with_fine_detail(filled, unknown)


def _with_fine_detail(image: FloatArray, unknown: ByteArray) -> FloatArray:
    """Averaging votes blurs what is made up: it gets as much fine contrast as what lies beside it, up to 1.7 times."""
    beside = dilate(unknown, 41) * (1 - unknown)
    if not unknown.any() or not beside.any():
        return image
    fine = image - gaussian_blur(image, 1.2)
    wanted = float(np.abs(fine[beside > 0]).mean()) + 1e-4
    found = float(np.abs(fine[unknown > 0]).mean()) + 1e-4
    gain = float(np.clip(wanted / found, 1, _MOST_SHARPENED)) - 1
    share = gaussian_blur(unknown.astype(np.float32), 2) * np.float32(gain)
    return np.asarray(np.clip(image + fine * share[..., None], 0, 1), np.float32)
