"""Framings of a photograph: close, wide or aside, with everything that matters whole and inside."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from service.engine.arrays import FloatArray, resize
from service.engine.boxes import Box, Matrix, box_mask, moved
from service.engine.kinds import Kind
from service.engine.scene import Scene
from service.engine.warps import Frame

_CANDIDATES = 400
_GRID = 64
_LEAST_KEPT = 0.988
_MOST_CUT = 0.30
_MOST_CUT_OF_PEOPLE = 0.42
"""The share of the subject that may leave through sides that cut it already: a portrait stays a portrait."""

_TEXT_MARGIN = 0.5
_FACE_MARGIN = 0.05
_EDGE = 0.004
_BORDER = 0.06
_MOST_CAREFUL_ZOOM = 1.14

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Wish:
    """The requirements for a framing.

    Attributes:
        least_zoom, most_zoom: The range.
        zoom: The one to come near to, or None.
        covers: Whether the picture must fill the frame; otherwise what it uncovers counts by its difficulty.
        turn: Standard deviation in degrees.
        aside: How much shifting the view is worth.
    """

    least_zoom: float
    most_zoom: float
    zoom: float | None = None
    covers: bool = True
    turn: float = 1.2
    aside: float = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class _Weights:
    """Points of the scene (3 x N, homogeneous, in pixels), with their shares of what is protected, of what is salient,
    and of what a framing is composed around: faces, or else the subject, or else what draws the eye."""

    points: FloatArray = field(repr=False)
    protect: Reals = field(repr=False)
    salience: Reals = field(repr=False)
    focus: Reals = field(repr=False)
    corners: FloatArray | None = field(repr=False)
    has_subject: bool


def find_frames(scene: Scene, wish: Wish, generator: np.random.Generator) -> list[Frame]:
    """Framings that fulfil the wish, best first; empty where none keeps everything that matters inside.

    Faces and text stay whole. Sides that cut the subject already may cut a little more of it (never the top); sides
    that it reaches are never uncovered.
    """
    weights = _weights(scene)
    found = []
    for _ in range(_CANDIDATES):
        frame = _draw(scene, wish, generator)
        if frame is None:
            continue
        score = _score(scene, wish, weights, frame)
        if score is not None:
            found.append(Frame(frame.zoom, frame.shift_x, frame.shift_y, frame.turn, score))
    return sorted(found, key=lambda frame: -frame.score)


def _draw(scene: Scene, wish: Wish, generator: np.random.Generator) -> Frame | None:
    """A candidate. The same number of draws for each, so that one rejected does not change those after it."""
    share, tilt, x, y, corner = generator.random(), generator.normal(), *generator.uniform(-1, 1, 2), generator.random()
    thirds = generator.integers(3, size=2)
    zoom = math.exp(math.log(wish.least_zoom) + share * math.log(wish.most_zoom / wish.least_zoom))
    free_x, free_y = abs(1 - zoom) * scene.width / 2, abs(1 - zoom) * scene.height / 2
    turn = math.radians(tilt * wish.turn)
    shift_x, shift_y = x * free_x, y * free_y
    pinned = scene.pinned
    if scene.is_careful and zoom >= 1:
        # There may be a head that nobody has found. Heads are at the top: nothing is taken from there, and little.
        zoom = min(zoom, _MOST_CAREFUL_ZOOM)
        free_x, free_y = abs(1 - zoom) * scene.width / 2, abs(1 - zoom) * scene.height / 2
        return Frame(zoom, x * free_x, 0.999 * free_y, 0.0)
    if zoom >= 1:
        if corner < 0.5:  # flush with a side, or centred: what a photographer would do
            shift_x, shift_y = (0.0, 0.999, -0.999)[thirds[0]] * free_x, (0.0, 0.999, -0.999)[thirds[1]] * free_y
            turn = 0.0
        return Frame(zoom, shift_x, shift_y, turn)
    if (pinned.left and pinned.right) or (pinned.top and pinned.bottom):
        return None
    if pinned.left:
        shift_x = -free_x - 1
    if pinned.right:
        shift_x = free_x + 1
    if pinned.top:
        shift_y = -free_y - 1
    if pinned.bottom:
        shift_y = free_y + 1
    return Frame(zoom, shift_x, shift_y, 0.0 if pinned.any() else turn)


def _weights(scene: Scene) -> _Weights:
    scale = _GRID / scene.longest
    rows, columns = max(8, round(scene.height * scale)), max(8, round(scene.width * scale))
    protect = resize(scene.protect, rows, columns, cv2.INTER_AREA).astype(np.float64)
    salience = resize(scene.salience, rows, columns).astype(np.float64).clip(0) ** 1.5
    y, x = np.mgrid[0:rows, 0:columns]
    points = np.stack(
        [(x.ravel() + 0.5) / columns * scene.width, (y.ravel() + 0.5) / rows * scene.height, np.ones(rows * columns)]
    )
    focus = protect if protect.sum() > 0 else salience
    if scene.faces:
        # Large faces draw the composition to themselves; small ones leave it to the whole figure.
        heads = resize(box_mask(scene.protect.shape, scene.faces), rows, columns, cv2.INTER_AREA).astype(np.float64)
        focus = focus / max(1e-6, focus.sum()) + 1.5 * heads / max(1e-6, heads.sum())
    return _Weights(
        points=points.astype(np.float32),
        protect=protect.ravel() / max(1e-6, protect.sum()),
        salience=salience.ravel() / max(1e-6, salience.sum()),
        focus=focus.ravel() / max(1e-6, focus.sum()),
        corners=_corners(scene),
        has_subject=bool(protect.sum() > 0),
    )


def _corners(scene: Scene) -> FloatArray | None:
    """The corners (3 x N) of faces and texts with some air around them, as far as there is any."""
    boxes = [_airy(box, _TEXT_MARGIN, scene) for box in scene.texts]
    boxes += [_airy(face.grown(0.1, 0.3, 0.1, 0.1), _FACE_MARGIN, scene) for face in scene.faces]
    if not boxes:
        return None
    points = [(x, y, 1.0) for box in boxes for x in (box.left, box.right) for y in (box.top, box.bottom)]
    return np.array(points, np.float32).T


def _airy(box: Box, margin: float, scene: Scene) -> Box:
    air = margin * box.height
    left, top = max(0.0, box.left - air), max(0.0, box.top - air)
    right, bottom = min(scene.width, box.right + air), min(scene.height, box.bottom + air)
    return Box(left, top, right - left, bottom - top)


def _score(scene: Scene, wish: Wish, weights: _Weights, frame: Frame) -> float | None:
    """Larger is better; None where something that matters would be cut, or the frame not be covered."""
    width, height = scene.width, scene.height
    matrix = frame.matrix(width, height)
    x, y = matrix @ weights.points
    edge = _EDGE * scene.longest if frame.zoom > 1.03 else 1.0
    inside = (x >= edge) & (x <= width - edge) & (y >= edge) & (y <= height - edge)
    counted = inside
    if weights.has_subject:
        cut = scene.cut
        free = ((x < edge) & cut.left) | ((x > width - edge) & cut.right) | ((y > height - edge) & cut.bottom)
        free |= (y < edge) & (y >= 0) & cut.top
        lost = float(weights.protect[free & ~inside].sum())
        if lost > (_MOST_CUT_OF_PEOPLE if scene.kind is Kind.PEOPLE else _MOST_CUT):
            return None
        counted = inside | free
        if float(weights.protect[counted].sum()) < _LEAST_KEPT:
            return None
    if weights.corners is not None and not _all_inside(matrix @ weights.corners, width, height):
        return None
    if wish.covers and not _covers(matrix, width, height):
        return None
    centre_x, centre_y = float(weights.focus @ x) / width - 0.5, float(weights.focus @ y) / height - 0.5
    off_thirds = min(abs(centre_x), abs(abs(centre_x) - 1 / 6))
    score = -7 * max(0.0, 0.93 - float(weights.salience[counted].sum())) - 0.8 * off_thirds - 0.5 * abs(centre_y)
    if not weights.has_subject and frame.zoom > 1:
        # Without a known subject, keep salient areas away from the very edge of the frame.
        near = _BORDER * min(width, height)
        rim = inside & ((x < near) | (x > width - near) | (y < near) | (y > height - near))
        score -= 6.0 * float(weights.salience[rim].sum())
    score += 0.8 * abs(math.log(frame.zoom)) + wish.aside * math.hypot(frame.shift_x / width, frame.shift_y / height)
    if wish.aside >= 1:
        score -= 0.9 * off_thirds
    if not wish.covers:
        score -= 1.6 * _difficulty(scene, matrix)
    score -= 2.0 * _crowding(scene, matrix)
    if wish.zoom is not None:
        score -= 2 * abs(math.log(frame.zoom / wish.zoom))
    return score


def _crowding(scene: Scene, matrix: Matrix) -> float:
    """The heads' intrusion into the outer twelfths of the frame, left and right, as a share of its width."""
    room = scene.width / 12
    heads = moved([face.grown(0.2, 0, 0.2, 0) for face in scene.faces], matrix)
    return sum(max(0.0, room - head.left) + max(0.0, head.right - scene.width + room) for head in heads) / scene.width


def _all_inside(points: FloatArray, width: int, height: int) -> bool:
    x, y = points
    return bool(x.min() >= -0.5 and x.max() <= width + 0.5 and y.min() >= -0.5 and y.max() <= height + 0.5)


def _covers(matrix: Matrix, width: int, height: int) -> bool:
    inverse = cv2.invertAffineTransform(matrix)
    frame_corners = np.array([[0, width, width, 0], [0, 0, height, height]], np.float32)
    return _all_inside(inverse[:, :2] @ frame_corners + inverse[:, 2:], width, height)


def _difficulty(scene: Scene, matrix: Matrix) -> float:
    """The difficulty of the extension: each side's uncovered area, times how hard that side is to extend."""
    width, height = scene.width, scene.height
    uncovered = (
        max(0.0, float(matrix[0, 2])) / width,
        max(0.0, width - float(matrix[0, 0] * width + matrix[0, 2])) / width,
        max(0.0, float(matrix[1, 2])) / height,
        max(0.0, height - float(matrix[1, 1] * height + matrix[1, 2])) / height,
    )
    return sum(share * hard for share, hard in zip(uncovered, scene.difficulty, strict=True))
