"""Looks at a finished variation for what nobody would accept: faces or text lost or invented, twins, seams."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from service.engine.arrays import (
    ByteArray,
    FloatArray,
    as_bytes,
    dilate,
    gaussian_blur,
    luma,
    resize,
    resize_to,
    shrink_to,
)
from service.engine.boxes import Box, Matrix, box_mask, moved
from service.engine.networks.faces import find_faces
from service.engine.networks.text import find_text
from service.engine.scene import Scene

_LOOK_SIDE = 512
_READ_SIDE = 736
_PATCH = 17
_TWIN_SIDE = 240
_PROBES = 10
_ALIKE = 0.72


@dataclass(frozen=True, slots=True)
class Verdict:
    """The faults of a variation: shares in 0..1 and counts."""

    lost_faces: float
    second_faces: int
    lost_text: float
    invented_text: int

    @property
    def badness(self) -> float:
        """0 where nothing is."""
        return 4 * self.lost_faces + 3 * self.second_faces + 3 * self.lost_text + self.invented_text


def inspect(scene: Scene, image: FloatArray, matrix: Matrix) -> Verdict:
    """Judges ``image`` (H x W x 3 in 0..1), to which ``matrix`` moved the scene."""
    side = _READ_SIDE if scene.texts else _LOOK_SIDE
    pixels = shrink_to(as_bytes(image), side)
    scale = pixels.shape[1] / image.shape[1]
    scaled = np.diag([scale, scale, 1.0]) @ np.vstack([matrix, [0, 0, 1]])[:3]
    wanted_faces = moved(scene.faces, scaled)
    found_faces = find_faces(pixels, _LOOK_SIDE)
    lost_faces, second_faces = 0.0, 0
    if found_faces is not None:
        lost_faces = _share(not any(face.overlap(each) > 0.3 for each in found_faces) for face in wanted_faces)
        second_faces = sum(all(face.overlap(each) < 0.15 for each in wanted_faces) for face in found_faces)
    wanted_text = moved(scene.texts, scaled)
    found_text = find_text(pixels, side) if scene.texts else ()
    lost_text, invented_text = 0.0, 0
    if found_text:
        lost_text = _share(_covered(box, found_text, pixels.shape) < 0.4 for box in wanted_text)
        near = tuple(box.grown(0.1, 0.2, 0.1, 0.2) for box in wanted_text)
        invented_text = sum(_covered(box, near, pixels.shape) < 0.3 for box in found_text)
    return Verdict(lost_faces, second_faces, lost_text, invented_text)


def _share(found: object) -> float:
    values = list(found)  # type: ignore[call-overload]  # an iterable of booleans
    return sum(values) / len(values) if values else 0.0


def _covered(box: Box, others: tuple[Box, ...], shape: tuple[int, ...]) -> float:
    return box.mean_of(box_mask(shape, others))


def twin_score(scene: Scene, image: FloatArray, unknown: ByteArray, matrix: Matrix) -> float:
    """The best match of the filled area with the patches that must not appear twice: below .8, nothing is alike."""
    if not unknown.any():
        return 0.0
    scale = _TWIN_SIDE / scene.longest
    zoom = math.hypot(float(matrix[0, 0]), float(matrix[1, 0]))
    rows, columns = round(scene.height * scale), round(scene.width * scale)
    source = luma(resize(scene.image, rows, columns))
    matters = scene.protect
    if not scene.has_subject:
        matters = (resize(scene.salience, scene.height, scene.width) > 0.6).astype(np.float32)
    core = resize(matters, rows, columns, cv2.INTER_AREA) > 0.5
    made = luma(
        resize(
            image,
            max(_PATCH + 2, round(scene.height * scale / zoom)),
            max(_PATCH + 2, round(scene.width * scale / zoom)),
        )
    )
    hole = resize_to(unknown.astype(np.float32), made.shape, cv2.INTER_AREA)
    half = _PATCH // 2
    share = cv2.blur(hole, (_PATCH, _PATCH))[
        half : half + made.shape[0] - _PATCH + 1, half : half + made.shape[1] - _PATCH + 1
    ]
    allowed = share > 0.45
    if not allowed.any():
        return 0.0
    texture = gaussian_blur((source - gaussian_blur(source, 4)) ** 2, 5)
    best = 0.0
    for patch, unique in _probes(source, texture, core):
        found = float(cv2.matchTemplate(made, patch, cv2.TM_CCOEFF_NORMED)[allowed].max())
        best = max(best, found if unique else 0.0)
    return best


def _probes(source: FloatArray, texture: FloatArray, core: npt.NDArray[np.bool_]) -> Iterator[tuple[FloatArray, bool]]:
    """Patches that would be noticed if they appeared twice: of the subject, and of anything else that is unique.

    An eye is unique whatever the detectors made of it; a brick or a leaf is not.
    """
    half = _PATCH // 2
    for where, must_be_unique in ((core, False), (~core, True)):
        left = texture * where
        left[:_PATCH] = left[-_PATCH:] = 0
        left[:, :_PATCH] = left[:, -_PATCH:] = 0
        for _ in range(_PROBES):
            row, column = (int(place) for place in np.unravel_index(int(left.argmax()), left.shape))
            if left[row, column] < 6e-4:
                break
            patch = source[row - half : row + half + 1, column - half : column + half + 1]
            yield patch, not must_be_unique or _is_unique(source, patch, row - half, column - half)
            left[max(0, row - 12) : row + 13, max(0, column - 12) : column + 13] = 0


def _is_unique(source: FloatArray, patch: FloatArray, row: int, column: int) -> bool:
    alike = cv2.matchTemplate(source, patch, cv2.TM_CCOEFF_NORMED)
    alike[max(0, row - _PATCH) : row + _PATCH, max(0, column - _PATCH) : column + _PATCH] = -1
    return float(alike.max()) < _ALIKE


def seam_score(image: FloatArray, unknown: ByteArray) -> float:
    """Visibility of the filled area: its lack of detail, and colour steps along its border; below .5, hardly any."""
    if not unknown.any():
        return 0.0
    grey = luma(image)
    detail = np.abs(grey - gaussian_blur(grey, 1.5))
    beside = (dilate(unknown, 41) * (1 - unknown)) > 0
    if not beside.any():
        return 1.0
    fine = float(detail[unknown > 0].mean() / (detail[beside].mean() + 1e-4))
    outer = (dilate(unknown, 9) * (1 - dilate(unknown, 3))).astype(np.float32)
    eroded = cv2.erode(unknown, np.ones((9, 9), np.uint8))
    inner = ((1 - eroded) * cv2.erode(unknown, np.ones((3, 3), np.uint8))).astype(np.float32)
    edge = cv2.morphologyEx(unknown, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    edge[:6] = edge[-6:] = False
    edge[:, :6] = edge[:, -6:] = False
    if not edge.any():
        return max(0.0, 0.75 - fine)

    def mean(mask: FloatArray) -> FloatArray:
        weighted = gaussian_blur(image * mask[..., None], 3)
        return np.asarray(weighted / (gaussian_blur(mask, 3) + 1e-3)[..., None], np.float32)

    step = float(np.abs(mean(outer) - mean(inner)).max(2)[edge].mean())
    return max(0.0, 0.75 - fine) + 8 * step
