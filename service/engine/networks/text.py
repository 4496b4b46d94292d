"""Text detection and a legibility check: PP-OCRv4's detector and recogniser (Apache-2.0), run by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from service.engine.arrays import ByteArray, FloatArray, resize
from service.engine.boxes import Box
from service.engine.networks import weights
from service.engine.onnx_session import open_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_SIDE = 736
_MOST_ENLARGED = 2.5
_STRIDE = 32
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
_INK = 0.3
_SURE = 0.6
_LEAST_PIXELS = 40
_LEAST_SHARE = 0.0006
_MARGIN = 0.3
"""The detector marks the middle of a line only: its box is grown by so much of its height on each side."""

_LINE_HEIGHT = 48
_LONGEST_LINE = 640
_LEAST_CHARACTERS = 2
_LEAST_CONFIDENCE = 0.62
"""Measured: letters are read with more, buttons and flowers with less."""


def find_text(pixels: ByteArray, side: int = _SIDE) -> tuple[Box, ...] | None:
    """Lines that look like text in a picture (H x W x 3 bytes, RGB), in its pixels; None without the network.

    Args:
        side: The long side at which is looked, in pixels; larger pictures are reduced, smaller ones enlarged up to
            2.5 times.
    """
    session = weights.load(weights.TEXT, open_session)
    if session is None:
        return None
    height, width = pixels.shape[:2]
    scale = min(side / max(height, width), _MOST_ENLARGED)
    columns, rows = (max(_STRIDE, round(length * scale / _STRIDE) * _STRIDE) for length in (width, height))
    picture = (resize(pixels, rows, columns).astype(np.float32) / 255 - _MEAN) / _DEVIATION
    (found,) = session.run(None, {session.get_inputs()[0].name: picture.transpose(2, 0, 1)[None]})
    heat = found[0, 0]
    _, _, statistics, _ = cv2.connectedComponentsWithStats((heat > _INK).astype(np.uint8))
    boxes = []
    for left, top, wide, tall, area in np.asarray(statistics[1:], np.int64):
        sure = heat[top : top + tall, left : left + wide].max() > _SURE
        if sure and area > _LEAST_PIXELS and wide * tall > _LEAST_SHARE * heat.size and wide > 0.8 * tall:
            margin = _MARGIN * tall
            box = Box(float(left - margin), float(top - margin), float(wide + 2 * margin), float(tall + 2 * margin))
            boxes.append(box.scaled(width / columns, height / rows))
    return tuple(boxes)


def is_readable(pixels: ByteArray, box: Box) -> bool:
    """Whether at least two characters can be read in ``box``; true where the network to tell is missing."""
    reader = weights.load(weights.READING, _open_reader)
    if reader is None:
        return True
    session, alphabet = reader
    line = pixels[box.window(pixels)]
    if min(line.shape[:2]) < 5:
        return False
    wanted = round(_LINE_HEIGHT * line.shape[1] / line.shape[0] / 8) * 8
    picture: FloatArray = resize(line, _LINE_HEIGHT, int(np.clip(wanted, 32, _LONGEST_LINE))).astype(np.float32)
    (found,) = session.run(None, {session.get_inputs()[0].name: (picture / 127.5 - 1).transpose(2, 0, 1)[None]})
    best = found[0].argmax(1)
    # Connectionist temporal classification: class 0 is none, and repeats are one character.
    characters = (best != 0) & np.concatenate([[True], best[1:] != best[:-1]])
    # Stars and dots are characters too, but a flag is no text.
    characters &= np.array([alphabet[number] for number in best])
    if characters.sum() < _LEAST_CHARACTERS:
        return False
    return bool(found[0].max(1)[characters].mean() > _LEAST_CONFIDENCE)


def _open_reader(path: Path) -> tuple[InferenceSession, tuple[bool, ...]]:
    """The network, and for each of its classes whether that is a letter or a digit."""
    session = open_session(path)
    characters = session.get_modelmeta().custom_metadata_map["character"].split("\n")
    # One class more in front (none) and one behind (a space).
    return session, (False, *(character.isalnum() for character in characters), False, False)
