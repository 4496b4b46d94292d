"""Text by the shape and the rows of its letters: whether a picture is mostly text, and where its lines are."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from service.engine.arrays import ByteArray, resize
from service.engine.boxes import Box

_SIDE = 512
_MOST_GLYPHS = 1200
_THRESHOLD = 0.45
"""Measured: pages of text score .905 and more, photos .224 and less."""


def is_text(pixels: ByteArray) -> bool:
    """Whether ``pixels`` (RGB bytes) shows lines of text."""
    return text_score(pixels) > _THRESHOLD


def text_score(pixels: ByteArray) -> float:
    """0..1: the share of small high-contrast shapes that stand in a row with at least two of their like."""
    height, width = pixels.shape[:2]
    scale = _SIDE / max(height, width)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = resize(pixels, max(8, round(height * scale)), max(8, round(width * scale)), method)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    best = 0.0
    for kind, offset in ((cv2.THRESH_BINARY_INV, 18), (cv2.THRESH_BINARY, -18)):  # dark on light, light on dark
        ink = cv2.adaptiveThreshold(grey, 1, cv2.ADAPTIVE_THRESH_MEAN_C, kind, 31, offset)
        _, _, statistics, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
        best = max(best, _score_glyphs(_glyph_boxes(np.asarray(statistics[1:], np.int32))))
    return best


def text_lines(pixels: ByteArray) -> tuple[Box, ...]:
    """The boxes of lines of at least four letters in a row, in pixels. Only for pictures that are mostly text."""
    if not is_text(pixels):
        return ()
    height, width = pixels.shape[:2]
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    edges = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    _, ink = cv2.threshold(edges, 0, 1, cv2.THRESH_OTSU)
    reach = max(5, width // 40)
    rows = cv2.morphologyEx(ink, cv2.MORPH_CLOSE, np.ones((1, reach), np.uint8))
    rows = cv2.morphologyEx(rows, cv2.MORPH_OPEN, np.ones((3, reach), np.uint8))
    _, _, statistics, _ = cv2.connectedComponentsWithStats(np.asarray(rows, np.uint8))
    return tuple(
        Box(float(left), float(top), float(wide), float(tall))
        for left, top, wide, tall, _ in np.asarray(statistics[1:], np.int64)
        if wide > 3 * tall and 5 <= tall < height / 8
    )


def _glyph_boxes(statistics: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """The boxes (left, top, width, height) of the components that might be letters; at most 1200, neighbours all."""
    width, height, area = (statistics[:, column] for column in (2, 3, 4))
    plausible = (
        (height >= 5)
        & (height <= 40)
        & (width >= 2)
        & (width <= 60)
        & (area >= 8)
        & (area > 0.15 * width * height)
        & (width < 6 * height)
    )
    boxes = statistics[plausible, :4].astype(np.float32)
    if len(boxes) > _MOST_GLYPHS:
        # All pairs are compared: noise must not cost gigabytes. A band from the middle is as good as the page.
        order = np.argsort(boxes[:, 1], kind="stable")
        first = (len(boxes) - _MOST_GLYPHS) // 2
        boxes = boxes[order[first : first + _MOST_GLYPHS]]
    return boxes


def _score_glyphs(boxes: npt.NDArray[np.float32]) -> float:
    if len(boxes) < 15:
        return 0.0
    left, top, width, height = boxes.T
    right, bottom = left + width, top + height
    taller = np.maximum(height[:, None], height[None])
    gap = np.maximum(left[:, None], left[None]) - np.minimum(right[:, None], right[None])
    in_line = (
        (np.abs(bottom[:, None] - bottom[None]) < 0.25 * taller)
        & (np.abs(height[:, None] - height[None]) < 0.45 * taller)
        & (gap < 1.2 * taller)
        & (gap > -2)
    )
    np.fill_diagonal(in_line, False)
    good = in_line.sum(1) >= 2
    return float(good.mean() * min(1.0, good.sum() / 40))
