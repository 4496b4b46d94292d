"""A figure on plain ground: its outline, its place in the frame, and other ground behind it."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from service.engine.arrays import LUMA_WEIGHTS, FloatArray, dilate, gaussian_blur, luma, mix, to_lab, unit
from service.engine.boxes import Matrix
from service.engine.kinds import Kind
from service.engine.scene import Scene, Sides
from service.engine.warps import similarity

_GROUND_LIKE = 4.0
_SHADOW_CHROMA = 7.0
_DEEPEST_SHADOW = -38.0
_SHADOW_EDGE = 3.0
_CLEARLY_DIFFERENT = 20.0
_NEARLY_GROUND = 22.0
_SPECK = 3e-4
_FEW_INKS = 6


def figure_alpha(scene: Scene) -> FloatArray:
    """H x W, 0..1, soft: what is figure, eroded by two pixels so that no fringe of the old ground comes along.

    Natural shadows and the counters of letters belong to the ground; other holes belong to the figure.
    """
    lab = to_lab(scene.image) - scene.ground.lab
    distance = np.linalg.norm(lab, axis=2)
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    bend = gaussian_blur(np.abs(cv2.Laplacian(lab[..., 0], cv2.CV_32F)), 1.5)
    shadow = (chroma < _SHADOW_CHROMA) & (lab[..., 0] > _DEEPEST_SHADOW) & (lab[..., 0] < 0) & (bend < _SHADOW_EDGE)
    shadow &= ~_solid(distance)
    like_ground = distance < _GROUND_LIKE
    _, labels = cv2.connectedComponents((like_ground | shadow).astype(np.uint8), connectivity=4)
    outer = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    outside = np.isin(labels, outer[outer > 0])
    holes = like_ground & ~outside
    for box in scene.texts:
        rows, columns = box.window(outside)
        part = outside[rows, columns]
        if min(part.shape) < 2:
            continue
        rim = np.concatenate([part[0], part[-1], part[:, 0], part[:, -1]])
        if rim.mean() > 0.6:  # letters that stand on the ground: it shows through them
            outside[rows, columns] |= holes[rows, columns]
    if scene.kind is Kind.GRAPHIC and (scene.is_grey or float((~outside).mean()) < 0.1):
        outside |= holes
    outside = _grown_into_fringes(outside, distance)
    inside = _without_specks(~outside)
    eroded = cv2.erode(inside.astype(np.float32), np.ones((5, 5), np.uint8))
    return unit(gaussian_blur(eroded, 1.0) * 1.1 - 0.05)


def _solid(distance: FloatArray) -> npt.NDArray[np.bool_]:
    """The convex hulls of the parts that clearly differ from the ground, but for their lowest quarter: pale parts of a
    figure lie there, shadows do not."""
    clear = cv2.morphologyEx(
        (distance > _CLEARLY_DIFFERENT).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8)
    )
    contours, _ = cv2.findContours(clear, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    solid = np.zeros(distance.shape, np.uint8)
    for contour in contours:
        if cv2.contourArea(contour) < _SPECK * distance.size:
            continue
        hull = np.zeros_like(solid)
        cv2.fillConvexPoly(hull, cv2.convexHull(contour), 1)
        _, top, _, tall = cv2.boundingRect(contour)
        if top + tall < distance.shape[0] - 2:  # what the frame cuts below stands on nothing that it could shade
            hull[top + int(tall * 0.75) :] = 0
        solid |= hull
    return np.asarray(solid > 0)


def _grown_into_fringes(outside: npt.NDArray[np.bool_], distance: FloatArray) -> npt.NDArray[np.bool_]:
    """``outside`` and the nearly ground-coloured rim that compression and reflections leave beside it."""
    nearly = (distance < _NEARLY_GROUND).astype(np.uint8)
    grown = outside.astype(np.uint8)
    for _ in range(max(1, max(outside.shape) // 90)):
        grown |= dilate(grown, 3) & nearly
    return np.asarray(grown > 0)


def _without_specks(inside: npt.NDArray[np.bool_]) -> FloatArray:
    """1 for the figure, less the specks that compression leaves around it."""
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8))
    large = statistics[:, cv2.CC_STAT_AREA] >= _SPECK * inside.size
    large[0] = False
    if not large.any():
        large[1:] = True  # nothing but specks: then they are the figure
    return np.asarray(large[labels], np.float32)


def ink_count(scene: Scene) -> int:
    """With how many colours most of the figure is drawn: a logo takes a few, a photograph or a gradient dozens."""
    inks = (scene.image[scene.figure > 0] * 15.99).astype(np.int32)
    if not len(inks):
        return 0
    _, counts = np.unique(inks @ np.array([256, 16, 1]), return_counts=True)
    shares = np.cumsum(np.sort(counts)[::-1]) / counts.sum()
    return int(np.searchsorted(shares, 0.85)) + 1


def figure_matrix(scene: Scene, size: float, x: float, y: float, degrees: float, room: float = 0.92) -> Matrix:
    """2 x 3: the figure at ``size`` times what fits into ``room`` of the frame, at x, y (-1..1) of the free space.

    A figure that the frame cuts stays at the side that cuts it, and is never made smaller.
    """
    width, height = scene.width, scene.height
    shape = scene.figure if scene.alpha is None else (scene.alpha > 0.03).astype(np.uint8)
    if not shape.any():
        return similarity(width, height, size, 0, 0, 0)
    rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    turn = math.radians(degrees)
    cosine, sine = abs(math.cos(turn)), abs(math.sin(turn))
    wide, tall = (right - left) * cosine + (bottom - top) * sine, (right - left) * sine + (bottom - top) * cosine
    zoom = min(room * width / wide, room * height / tall) * size
    cut = touching(scene)
    if cut.any() and scene.alpha is None:
        return _cut_figure_matrix(scene, zoom, size, x, y, (left, right, top, bottom), cut)
    matrix = similarity(width, height, zoom, 0, 0, turn)
    middle = matrix @ np.array([(left + right) / 2, (top + bottom) / 2, 1], np.float32)
    wanted = (width / 2 + x * (width - wide * zoom) * 0.45, height / 2 + y * (height - tall * zoom) * 0.45)
    matrix[:, 2] += np.array(wanted, np.float32) - middle
    return matrix


def _cut_figure_matrix(
    scene: Scene, zoom: float, size: float, x: float, y: float, box: tuple[int, int, int, int], cut: Sides
) -> Matrix:
    width, height = scene.width, scene.height
    left, right, top, bottom = box
    if (cut.left and cut.right) or (cut.top and cut.bottom):
        _, _, statistics, _ = cv2.connectedComponentsWithStats(scene.figure)
        scattered = statistics[1:, cv2.CC_STAT_AREA].max() < 0.5 * scene.figure.sum()
        if size > 0.95:
            zoom = 1.32 if scattered else 1.0
        else:
            zoom = max(1.0, min(zoom * 1.08, 1.16)) if size < 0.88 else 1.0
    else:
        zoom = min(zoom * 1.12, 1.5)
    matrix = similarity(width, height, zoom, 0, 0, 0)
    middle = matrix @ np.array([(left + right) / 2, (top + bottom) / 2, 1], np.float32)
    wide, tall = (right - left) * zoom, (bottom - top) * zoom
    wanted_x = width / 2 + x * max(0.0, width - wide) * 0.45
    wanted_y = height / 2 + y * max(0.0, height - tall) * 0.45
    if cut.left and not cut.right:
        wanted_x = wide / 2 - 1
    if cut.right and not cut.left:
        wanted_x = width - wide / 2 + 1
    if cut.top and not cut.bottom:
        wanted_y = tall / 2 - 1
    if cut.bottom and not cut.top:
        wanted_y = height - tall / 2 + 1
    matrix[:, 2] += np.array([wanted_x, wanted_y], np.float32) - middle
    return matrix


def touching(scene: Scene) -> Sides:
    """The sides that cut the figure."""
    depth = max(2, min(scene.figure.shape) // 150)
    strips = (
        scene.figure[:, :depth],
        scene.figure[:, -depth:],
        scene.figure[:depth],
        scene.figure[-depth:],
    )
    return Sides(*(bool(strip.mean() > 0.012) for strip in strips))


def on_ground(
    figure: FloatArray, alpha: FloatArray, ground: FloatArray, base: FloatArray, shade: FloatArray | None = None
) -> FloatArray:
    """A picture that was taken on ground of colour ``base``, on ``ground`` instead.

    Where it is figure it stays; elsewhere it multiplies the new ground, so that soft edges and shadows come along.
    """
    if shade is not None:
        ground = ground * (1 - shade)[..., None]
    multiplied = np.clip(figure / np.maximum(base, 0.02), 0, 1) * ground
    return mix(multiplied, figure, alpha)


def main_hue(scene: Scene) -> float | None:
    """The figure's main hue in degrees; None where it has hardly any colour."""
    inside = scene.figure > 0 if scene.alpha is None else scene.alpha > 0.5
    if not inside.any():
        return None
    hsv = cv2.cvtColor(np.ascontiguousarray(scene.image[inside][None]), cv2.COLOR_RGB2HSV)[0]
    weight = hsv[:, 1] * hsv[:, 2]
    if float(weight.mean()) < 0.04:
        return None
    angle = np.radians(hsv[:, 0])
    return float(np.degrees(math.atan2(float(weight @ np.sin(angle)), float(weight @ np.cos(angle))))) % 360


def has_dark_ink(scene: Scene) -> bool:
    """Whether it is a drawing in a few flat colours, one of them (nearly) black."""
    inside = scene.figure > 0
    if not inside.any() or ink_count(scene) > _FEW_INKS:
        return False
    colours = scene.image[inside]
    dark = (colours @ LUMA_WEIGHTS < 0.35) & (np.ptp(colours, axis=1) < 0.2)
    return float(dark.mean()) > 0.25


def is_white_ink(scene: Scene) -> bool:
    """Whether the figure is drawn in white: a logo on black, not a scan."""
    inside = scene.figure > 0
    return bool(inside.any()) and float((luma(scene.image)[inside] > 0.8).mean()) > 0.6
