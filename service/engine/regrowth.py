"""Marks places that nobody looks at to be made up anew: what a bold variation changes besides the framing."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from service.engine.arrays import ByteArray, FloatArray, dilate, resize
from service.engine.geometry import Scene

_MOST_COST = 0.45
_CORNERS = 24
_SOME_SUBJECT = 0.15

Points = npt.NDArray[np.float64]


def regrow(scene: Scene, places: int, subject_confidence: float, generator: np.random.Generator) -> None:
    """Marks up to ``places`` blobs of the scene as unknown, in place, with something from beside them as first guess.

    Only where little is salient, off the subject, and not next to what is unknown already. The exemplar's
    share of each blob is forbidden, or it would only be copied back.
    """
    if places == 0:
        return
    height, width = scene.unknown.shape
    longest = max(height, width)
    cost = scene.salience + 0.15 * generator.random(scene.salience.shape).astype(np.float32)
    original = scene.target.copy()
    for _ in range(places):
        radius = generator.uniform(0.07, 0.14) * longest
        centre = _quiet_place(cost, scene.unknown, radius, generator)
        if centre is None:
            continue
        blob = np.zeros((height, width), np.uint8)
        cv2.fillPoly(blob, [_outline(*centre, radius, generator)], 1)
        if not _acceptable(blob, scene, subject_confidence):
            continue
        aside = np.array(
            [[1, 0, int(generator.choice([-1, 1]) * radius * 2.6)], [0, 1, int(generator.normal(0, 0.15) * radius)]],
            np.float32,
        )
        guess = cv2.warpAffine(original, aside, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        marked = (blob > 0) & (scene.unknown == 0)
        scene.target[marked] = guess[marked]
        scene.unknown[marked] = 1
        _forbid_origin(scene, marked, max(3, int(0.012 * longest) | 1))


def _quiet_place(
    cost: FloatArray, unknown: ByteArray, radius: float, generator: np.random.Generator
) -> tuple[float, float] | None:
    """The output pixel (x, y) of one of the least salient fifth of all places, or None if it is salient still."""
    rows, columns = cost.shape
    side = max(3, int(radius / 4))
    coarse_unknown = _coarse(unknown, cost).astype(np.float32)
    total = cv2.blur(cost, (side, side)) + 3 * cv2.blur(coarse_unknown, (side, side))
    quietest = np.argsort(total.ravel(), kind="stable")[: max(4, int(0.2 * total.size))]
    place = int(quietest[generator.integers(len(quietest))])
    if total.ravel()[place] > _MOST_COST:
        return None
    height, width = unknown.shape
    return (place % columns + 0.5) * width / columns, (place // columns + 0.5) * height / rows


def _coarse(mask: ByteArray, grid: FloatArray) -> ByteArray:
    return resize(mask, grid.shape[0], grid.shape[1], cv2.INTER_NEAREST)


def _outline(x: float, y: float, radius: float, generator: np.random.Generator) -> npt.NDArray[np.int32]:
    """An irregular polygon, wider than high."""
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    radii = radius * (1 + 0.25 * generator.normal(size=_CORNERS))
    radii = (radii + np.roll(radii, 1) + np.roll(radii, -1)) / 3
    corners: Points = np.stack([x + radii * np.cos(angles) * 1.5, y + radii * np.sin(angles) * 0.85], 1)
    return corners.astype(np.int32)


def _acceptable(blob: ByteArray, scene: Scene, subject_confidence: float) -> bool:
    covered = dilate(_coarse(blob, scene.salience), 5) > 0
    if covered.sum() < 4 or (scene.salience[covered] > 0.38).mean() > 0.03:
        return False
    return subject_confidence <= _SOME_SUBJECT or not scene.subject[covered].any()


def _forbid_origin(scene: Scene, marked: npt.NDArray[np.bool_], margin: int) -> None:
    height, width = scene.allowed.shape
    origin = np.zeros((height, width), np.uint8)
    rows = np.clip(scene.map_y[marked].astype(np.int64), 0, height - 1)
    columns = np.clip(scene.map_x[marked].astype(np.int64), 0, width - 1)
    origin[rows, columns] = 1
    scene.allowed[dilate(origin, margin) > 0] = 0
