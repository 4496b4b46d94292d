"""Face detection: CenterFace (Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019;
code and weights MIT), run by OpenCV."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from service.engine.arrays import ByteArray
from service.engine.boxes import Box
from service.engine.networks import weights

_SIDE = 512
_STRIDE = 32
_CELL = 4
_LEAST_SCORE = 0.5
_MOST_OVERLAP = 0.3
_OUTPUTS = ("537", "538", "539", "540")  # heat, log size / cell, offset, landmarks
_lock = threading.Lock()


def find_faces(pixels: ByteArray, side: int = _SIDE) -> tuple[Box, ...] | None:
    """The faces in a picture (H x W x 3 bytes, RGB), in its pixels, likeliest first; None without the network.

    Args:
        side: The long side at which is looked, in pixels.
    """
    network = weights.load(weights.FACES, _open)
    if network is None:
        return None
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    columns, rows = (max(_STRIDE, round(length * scale / _STRIDE) * _STRIDE) for length in (width, height))
    blob = cv2.dnn.blobFromImage(cv2.resize(pixels, (columns, rows)), 1.0, (columns, rows), (0, 0, 0), False)
    with _lock:  # OpenCV's networks keep their input and output inside
        network.setInput(blob)
        heat, size, offset, _ = (np.array(each) for each in network.forward(_OUTPUTS))
    boxes, scores = [], []
    for row, column in zip(*np.nonzero(heat[0, 0] > _LEAST_SCORE), strict=True):
        tall, wide = np.exp(size[0, :, row, column]) * _CELL
        down, right = offset[0, :, row, column]
        left, top = (column + right + 0.5) * _CELL - wide / 2, (row + down + 0.5) * _CELL - tall / 2
        boxes.append(Box(float(left), float(top), float(wide), float(tall)).scaled(width / columns, height / rows))
        scores.append(float(heat[0, 0, row, column]))
    if not boxes:
        return ()
    corners = [(box.left, box.top, box.width, box.height) for box in boxes]
    kept = cv2.dnn.NMSBoxes(corners, scores, _LEAST_SCORE, _MOST_OVERLAP)
    return tuple(boxes[int(number)] for number in np.array(kept).ravel())


def _open(path: Path) -> Any:
    return cv2.dnn.readNetFromONNX(str(path))
