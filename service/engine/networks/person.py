"""People segmentation: MediaPipe's selfie segmentation (Apache-2.0), run by OpenCV."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from service.engine.arrays import ByteArray, FloatArray, resize_to
from service.engine.networks import weights

_SIDE = 256
_lock = threading.Lock()


def find_people(pixels: ByteArray) -> FloatArray | None:
    """The probability that each pixel (H x W x 3 bytes, RGB) shows a person, 0..1, H x W; None without the network.

    The network was made for people before a camera. It also responds to animals, and is unreliable on skies.
    """
    network = weights.load(weights.PERSON, _open)
    if network is None:
        return None
    blob = cv2.dnn.blobFromImage(pixels, 1 / 255, (_SIDE, _SIDE))
    with _lock:  # OpenCV's networks keep their input and output inside
        network.setInput(blob)
        found = network.forward()[0, 0].copy()
    return np.clip(resize_to(cast(FloatArray, found), pixels.shape[:2], cv2.INTER_LINEAR), 0, 1)


def _open(path: Path) -> Any:
    return cv2.dnn.readNetFromTFLite(str(path))
