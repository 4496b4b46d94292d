"""Judges a set of variations as a stranger would who may only count. Used by the gallery's report."""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from service.engine.networks.faces import find_faces
from service.engine.networks.text import find_text, is_readable

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))
from variation_measures import explain, pair_distance

Pixels = npt.NDArray[np.uint8]

LOOK_SIDE = 640
LEAST_PAIR_BITS, LEAST_PAIR_COLOUR = 30, 6.0
MOST_EXPLAINED = 0.97
WHITE, NO_LONGER_WHITE = 253, 240


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a set, in words; empty where nothing is."""

    faults: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.faults


def judge(source: Pixels, images: list[Pixels], *, is_document: bool) -> Verdict:
    """Looks at a set of variations of ``source`` (H x W x 3 or 4 bytes).

    Faces and text are counted by the same networks that the engine uses, on the finished picture and without knowing
    the framing; everything else by means that the engine does not use.
    """
    faults = []
    before = opaque(source)
    after = [opaque(image) for image in images]
    faults += _face_faults(before, after)
    faults += _text_faults(before, after)
    transparent = source.shape[2] == 4 and (source[..., 3] < 250).mean() >= 0.01
    if transparent and any(image.shape[2] != 4 or (image[..., 3] < 250).mean() < 0.01 for image in images):
        faults.append("alpha is lost")
    if not transparent:
        faults += _white_faults(before, after)
        for number, image in enumerate(after):
            found = explain(before, image)
            if found.mirrored and found.inliers >= 60:
                faults.append(f"{number + 1} is mirrored")
            if not is_document and found.share > MOST_EXPLAINED:
                faults.append(f"{number + 1} is little more than a crop ({found.share:.2f})")
    for (a, one), (b, other) in itertools.combinations(enumerate(after, 1), 2):
        bits, colour = pair_distance(one, other)
        if bits < LEAST_PAIR_BITS and colour < LEAST_PAIR_COLOUR:
            faults.append(f"{a} and {b} are alike")
    return Verdict(tuple(faults))


def opaque(image: Pixels) -> Pixels:
    """A picture on grey, its long side at most 640."""
    if image.shape[2] == 4:
        share = image[..., 3:].astype(np.float32) / 255
        image = (image[..., :3] * share + 128 * (1 - share)).astype(np.uint8)
    scale = LOOK_SIDE / max(image.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(image)
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _face_faults(before: Pixels, after: list[Pixels]) -> list[str]:
    wanted = len(find_faces(before) or ())
    faults = []
    for number, image in enumerate(after, 1):
        found = len(find_faces(image) or ())
        if found < wanted:
            faults.append(f"{number} lost {wanted - found} of {wanted} faces")
        elif found > wanted:
            faults.append(f"{number} has {found - wanted} faces more")
    return faults


def _text_faults(before: Pixels, after: list[Pixels]) -> list[str]:
    wanted = _legible(before)
    faults = []
    for number, image in enumerate(after, 1):
        found = _legible(image)
        if wanted and found < 0.7 * wanted:
            faults.append(f"{number} keeps {found} of {wanted} lines of text")
        elif found > 1.4 * wanted + 1:
            faults.append(f"{number} has {found - wanted} lines of text more")
    return faults


def _legible(image: Pixels) -> int:
    return sum(is_readable(image, box) for box in find_text(image) or ())


def _white_faults(before: Pixels, after: list[Pixels]) -> list[str]:
    if np.median(_ring(before).min(1)) < WHITE:
        return []
    greyed = []
    for number, image in enumerate(after, 1):
        ring = _ring(image).astype(int)
        nearly_white = NO_LONGER_WHITE <= np.median(ring.min(1)) < WHITE
        if nearly_white and np.median(np.ptp(ring, axis=1)) < 4:  # a tint is meant, a grey is not
            greyed.append(str(number))
    return [f"white turned grey in {', '.join(greyed)}"] if greyed else []


def _ring(image: Pixels) -> Pixels:
    depth = max(2, min(image.shape[:2]) // 100)
    sides = (image[:depth], image[-depth:], image[:, :depth], image[:, -depth:])
    return np.concatenate([side.reshape(-1, 3) for side in sides])
