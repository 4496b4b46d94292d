"""The parts that a crop must keep: faces, people and salient areas, in the pictures of any provider.

Cheap: tens of milliseconds at any picture size. Without the small networks it uses contrast alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from service.engine.arrays import FloatArray, as_float, resize, shrink_to
from service.engine.boxes import Box, box_mask
from service.engine.networks.faces import find_faces
from service.engine.networks.person import find_people
from service.engine.saliency import saliency

_VIEW_SIDE = 512
_GRID_SIDE = 96
_FACE_WEIGHT = 8.0
_HEAD_WEIGHT = 3.0
_PERSON_WEIGHT = 1.5
_CONTRAST_WEIGHT = 0.5
_AS_GOOD = 0.004
_SURE_PERSON = 0.5
_LEAST_PEOPLE, _MOST_PEOPLE = 0.02, 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Focus:
    """The important parts of a picture. Boxes are in shares of its sides.

    Attributes:
        faces: Likeliest first; empty without the network.
        subject: Around the people, or else around what draws the eye; None where nothing does.
        weights: How much each place matters, 0 and up, over the whole picture; long side 96.
    """

    faces: tuple[Box, ...]
    subject: Box | None
    weights: FloatArray = field(repr=False)


def focus_boxes(pixels: npt.NDArray[np.uint8]) -> tuple[Box, ...]:
    """The boxes that a crop must keep, in shares of the picture's sides: every face, then the subject."""
    focus = find_focus(pixels)
    return focus.faces if focus.subject is None else (*focus.faces, focus.subject)


def find_focus(pixels: npt.NDArray[np.uint8]) -> Focus:
    """Finds the important parts of a picture (H x W x 3 bytes, RGB). The same picture always gives the same result."""
    view = shrink_to(np.ascontiguousarray(pixels), _VIEW_SIDE)
    if min(view.shape[:2]) < 16:
        view = resize(view, max(16, view.shape[0]), max(16, view.shape[1]))
    height, width = view.shape[:2]
    scale = _GRID_SIDE / max(height, width)
    rows, columns = max(8, round(height * scale)), max(8, round(width * scale))
    contrast = resize(saliency(as_float(shrink_to(view, 256))), rows, columns, cv2.INTER_LINEAR)
    weights = _CONTRAST_WEIGHT * contrast**2 + 1e-4
    faces = find_faces(view) or ()
    people = find_people(view)
    persons = np.zeros((rows, columns), np.float32)
    if people is not None:
        persons = resize((people > _SURE_PERSON).astype(np.float32), rows, columns, cv2.INTER_AREA)
        # Alone, the network for people is not to be trusted on pictures that are all person, or hardly any.
        if not faces and not _LEAST_PEOPLE < float(persons.mean()) < _MOST_PEOPLE:
            persons = np.zeros_like(persons)
        weights = weights + _PERSON_WEIGHT * persons
    grid_faces = [face.scaled(columns / width, rows / height) for face in faces]
    weights = weights + _FACE_WEIGHT * box_mask(weights.shape, grid_faces)
    weights = weights + _HEAD_WEIGHT * box_mask(weights.shape, [face.grown(0.3, 0.6, 0.3, 0.4) for face in grid_faces])
    return Focus(
        faces=tuple(face.scaled(1 / width, 1 / height) for face in faces),
        subject=_extent(persons > 0.5) or _extent(contrast > 0.5),
        weights=np.asarray(weights, np.float32),
    )


def cover_window(focus: Focus, source_aspect: float, wanted_aspect: float) -> Box:
    """The largest window of another shape, in shares of the picture's sides, that keeps most of what matters.

    Args:
        source_aspect, wanted_aspect: Width over height.
    """
    if source_aspect > wanted_aspect:  # take from the left and the right
        share = wanted_aspect / source_aspect
        _, place = best_offset(focus.weights.sum(0), share)
        return Box(place * (1 - share), 0.0, share, 1.0)
    share = source_aspect / wanted_aspect
    _, place = best_offset(focus.weights.sum(1), share)
    return Box(0.0, place * (1 - share), 1.0, share)


def best_offset(profile: npt.NDArray[Any], share: float) -> tuple[float, float]:
    """Slides a window of ``share`` of a profile's length along it.

    Returns:
        The share of the profile's sum that the window keeps at best, and where it lies then: 0 at the start, 1 at the
        end. Of equally good places the one in the middle of them, so that there is room on both sides.
    """
    length = len(profile)
    window = max(1, round(share * length))
    if window >= length:
        return 1.0, 0.5
    sums = np.concatenate([[0.0], np.cumsum(profile, dtype=np.float64)])
    kept = (sums[window:] - sums[:-window]) / max(1e-9, float(sums[-1]))
    good = np.flatnonzero(kept >= kept.max() - _AS_GOOD)
    chosen = good[np.argmin(np.abs(good - good.mean()))]
    return float(kept[chosen]), float(chosen / (length - window))


def _extent(mask: npt.NDArray[np.bool_]) -> Box | None:
    """The box around the mask, in shares of its sides; None where it is empty."""
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    return Box(
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1 - columns[0]) / width),
        float((rows[-1] + 1 - rows[0]) / height),
    )
