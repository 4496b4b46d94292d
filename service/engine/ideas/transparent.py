"""Ideas for transparent pictures: the figure changes, and what was transparent stays so."""

from __future__ import annotations

import cv2
import numpy as np

from service.engine.arrays import FloatArray, gaussian_blur, luma, mix, to_grey, unit
from service.engine.backdrops import colour, shadow
from service.engine.boxes import Matrix, box_mask, moved
from service.engine.figures import figure_matrix
from service.engine.ideas.task import Result, Task
from service.engine.light import light
from service.engine.looks import oil, watercolour
from service.engine.warps import similarity

_POSES = {
    "closer": (0.99, 0.0, 0.0, 2),
    "wider": (0.72, 0.5, 0.2, -9),
    "light": (0.94, 0.0, 0.1, 0),
    "mood": (0.84, -0.3, -0.1, 5),
    "paint": (0.92, 0.0, 0.1, -3),
    "aside": (0.78, -0.7, 0.3, 12),
    "film": (0.96, 0.1, 0.0, 0),
    "studio": (0.88, 0.0, -0.2, -6),
}
"""Size relative to what fits, place -1..1 in the free space, tilt in degrees."""

_INKS = (215.0, 12.0, 165.0, 275.0)
_NIGHT = np.array([0.13, 0.15, 0.20], np.float32)
_ROOM = 0.94


def make_transparent(task: Task) -> Result:
    """The figure as the task's idea has it, with its alpha."""
    scene = task.scene
    assert scene.alpha is not None  # a transparent picture has alpha
    matrix = _pose(task)
    image, alpha = _moved(scene.image, matrix, task), _moved(scene.alpha, matrix, task)
    if not task.relights:
        return Result(image, matrix, alpha)
    made = _MAKERS[task.idea](task, image, alpha, matrix)
    return Result(unit(made[0]), matrix, unit(made[1]))


def relight_transparent(task: Task, name: str) -> Result:
    """The figure in other light, its outline untouched."""
    scene = task.scene
    lit = light(scene.image, name, task.amount(1.0), side=task.side, matte=scene.alpha, glow=False)
    return Result(lit, np.eye(2, 3, dtype=np.float32), scene.alpha)


def _pose(task: Task) -> Matrix:
    scene = task.scene
    assert scene.alpha is not None
    if not task.reframes:
        return np.eye(2, 3, dtype=np.float32)
    size, x, y, tilt = _POSES[task.idea]
    mirrored = task.side * (-1 if task.variant % 2 else 1)
    rim = sum(float(side.mean()) for side in (scene.alpha[0], scene.alpha[-1], scene.alpha[:, 0], scene.alpha[:, -1]))
    if rim > 0.3:  # it fills the frame: it may only become smaller
        return similarity(scene.width, scene.height, min(size, 0.98), 0, 0, 0)
    upright = bool(scene.texts) or scene.is_pixel_art
    return figure_matrix(
        scene, size, mirrored * x, y, 0.0 if upright else mirrored * tilt * min(1.3, task.effort), _ROOM
    )


def _moved(picture: FloatArray, matrix: Matrix, task: Task) -> FloatArray:
    height, width = picture.shape[:2]
    method = cv2.INTER_CUBIC if float(np.linalg.det(matrix[:, :2])) > 1 else cv2.INTER_AREA
    if task.scene.is_pixel_art:
        method = cv2.INTER_NEAREST
    mode = cv2.BORDER_CONSTANT if picture.ndim == 2 else cv2.BORDER_REPLICATE
    return np.asarray(
        np.clip(cv2.warpAffine(picture, matrix, (width, height), flags=method, borderMode=mode), 0, 1), np.float32
    )


Layer = tuple[FloatArray, FloatArray]


def _over(image: FloatArray, alpha: FloatArray, shade: FloatArray) -> Layer:
    """The figure over its shadow: colours and alpha of the two together."""
    shade = shade * (1 - alpha)
    together = np.clip(alpha + shade, 0, 1)
    return image * (alpha / np.maximum(together, 1e-3))[..., None], together


def _closer(task: Task, image: FloatArray, alpha: FloatArray, matrix: Matrix) -> Layer:  # noqa: ARG001 - the makers' signature
    return light(image, "gold", task.amount(0.8), side=task.side, matte=alpha, glow=False), alpha


def _wider(task: Task, image: FloatArray, alpha: FloatArray, matrix: Matrix) -> Layer:  # noqa: ARG001
    longest = task.scene.longest
    cast = shadow(alpha, task.side * longest * 0.02, longest * 0.03, longest / 45, 0.45)
    return _over(light(image, "natural", task.amount(0.6), side=task.side, matte=alpha, glow=False), alpha, cast)


def _light(task: Task, image: FloatArray, alpha: FloatArray, matrix: Matrix) -> Layer:  # noqa: ARG001
    return light(image, "evening", task.amount(1.2), side=-task.side, matte=alpha, glow=False), alpha


def _mood(task: Task, image: FloatArray, alpha: FloatArray, matrix: Matrix) -> Layer:  # noqa: ARG001
    """A sticker: an outline around it, white unless that would hide a white figure."""
    longest = task.scene.longest
    radius = max(3, longest // 55)
    ring = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    outline = unit(gaussian_blur(cv2.dilate(alpha, ring), 1))
    edge = np.ones(3, np.float32) if not _is_white(task, image, alpha) else _NIGHT
    lit = light(image, "morning", task.amount(0.8), side=-task.side, matte=alpha, glow=False)
    sticker = mix(np.broadcast_to(edge, image.shape), lit, alpha)
    cast = shadow(outline, task.side * longest * 0.008, longest * 0.012, longest / 90, 0.4)
    return _over(sticker, outline, cast)


def _is_white(task: Task, image: FloatArray, alpha: FloatArray) -> bool:
    visible = alpha > 0.5
    if not visible.any():
        return False
    grey = luma(image)[visible]
    white, dark = float((grey > 0.88).mean()), float((grey < 0.3).mean())
    drawn_in_black = task.scene.is_grey and white > 0.6 and dark > 0.05
    return white >= 0.12 and not drawn_in_black


def _paint(task: Task, image: FloatArray, alpha: FloatArray, matrix: Matrix) -> Layer:
    """Watercolour, or oil the second time; line art without colours in coloured ink."""
    if task.scene.is_grey:
        return _inked(task, image, alpha, matrix)
    texts = moved(task.scene.texts, matrix)
    keep = np.clip(gaussian_blur(box_mask(alpha.shape, texts), task.scene.longest / 160) * 0.95, 0, 1).astype(
        np.float32
    )
    painter = oil if task.variant % 2 else watercolour
    return painter(image, keep, task.generator()), alpha


def _inked(task: Task, image: FloatArray, alpha: FloatArray, matrix: Matrix) -> Layer:  # noqa: ARG001
    """Dark parts take on a colour; white parts stay."""
    hue = _INKS[(int(task.generator().integers(len(_INKS))) + task.variant) % len(_INKS)]
    ink = colour(hue, 0.75, 0.55)
    return image + (1 - image) * ink, alpha


def _film(task: Task, image: FloatArray, alpha: FloatArray, matrix: Matrix) -> Layer:
    if task.scene.is_grey:
        return _inked(task, image, alpha, matrix)
    return to_grey(light(image, "low", task.amount(0.4), side=task.side, matte=alpha, glow=False)), alpha


def _studio(task: Task, image: FloatArray, alpha: FloatArray, matrix: Matrix) -> Layer:  # noqa: ARG001
    """Floating above its shadow."""
    longest = task.scene.longest
    cast = shadow(alpha, 0, longest * 0.05, longest / 28, 0.38)
    return _over(light(image, "high", task.amount(0.7), side=task.side, matte=alpha, glow=False), alpha, cast)


_MAKERS = {
    "closer": _closer,
    "wider": _wider,
    "light": _light,
    "mood": _mood,
    "paint": _paint,
    "aside": _wider,
    "film": _film,
    "studio": _studio,
}
