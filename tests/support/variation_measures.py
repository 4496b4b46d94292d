"""Measures of how far a picture is from another: what tells a variation from a filter or a crop.

Pictures are H x W x 3 bytes, RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from service.imaging.perceptual_key import hamming, layout_distance, perceptual_key

Pixels = npt.NDArray[np.uint8]

_SIDE = 384
_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Explanation:
    """The part of a picture that crop, zoom, turn, mirror and one global colour matrix explain by another picture.

    Attributes:
        inliers: Features found again under the best similarity.
        share: The share of the other picture's pixels that come out right, in 0..1.
        mirrored: Whether that takes a mirror.
    """

    inliers: int
    share: float
    mirrored: bool


def key_distance(source: Pixels, other: Pixels) -> int:
    """Bits between the perceptual keys, to the source or to its mirror image, whichever is nearer."""
    key = perceptual_key(other).key
    return min(hamming(perceptual_key(picture).key, key) for picture in (source, source[:, ::-1]))


def pair_distance(a: Pixels, b: Pixels) -> tuple[int, float]:
    """Bits between the perceptual keys, and mean colour difference of the layouts."""
    key_a, key_b = perceptual_key(a), perceptual_key(b)
    return hamming(key_a.key, key_b.key), layout_distance(key_a.layout, key_b.layout)


def colour_change(source: Pixels, other: Pixels) -> float:
    """Mean CIE76 difference at 64 x 64."""
    lab = [
        cv2.cvtColor(_square(picture, 64).astype(np.float32) / 255, cv2.COLOR_RGB2Lab) for picture in (source, other)
    ]
    return float(np.linalg.norm(lab[0] - lab[1], axis=-1).mean())


def explain(source: Pixels, other: Pixels) -> Explanation:
    """The best explanation of ``other`` as a transformed ``source``; a share of 0 where nothing is found again."""
    inliers, similarity, mirrored = _register(source, other)
    if similarity is None or inliers < 12:
        return Explanation(inliers, 0.0, mirrored)
    start = _square(source[:, ::-1] if mirrored else source, _SIDE).astype(np.float32) / 255
    unsmoothed = _square(other, _SIDE).astype(np.float32) / 255
    moved = cv2.GaussianBlur(cv2.warpAffine(start, similarity, (_SIDE, _SIDE)), (0, 0), 2)
    wanted = cv2.GaussianBlur(unsmoothed, (0, 0), 2)
    covered = cv2.warpAffine(np.ones((_SIDE, _SIDE), np.float32), similarity, (_SIDE, _SIDE)) > 0.99
    colours = np.concatenate([moved[covered], np.ones((int(covered.sum()), 1), np.float32)], 1)
    matrix = np.linalg.lstsq(colours, wanted[covered], rcond=None)[0]
    right = np.abs(colours @ matrix - wanted[covered]).max(1) < _TOLERANCE
    return Explanation(inliers, float(right.sum() / covered.size), mirrored)


def _features(picture: Pixels) -> tuple[Sequence[cv2.KeyPoint], npt.NDArray[Any] | None]:
    """ORB's key points and their descriptors; None for these where there are none, which OpenCV's stubs do not say."""
    detector = cv2.ORB.create(1200, fastThreshold=8)
    return detector.detectAndCompute(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), None)


def _register(source: Pixels, other: Pixels) -> tuple[int, Any, bool]:
    """Inliers, 2 x 3 matrix (or None) and mirroring of the similarity that most ORB features agree on."""
    wanted_points, wanted = _features(_square(other, _SIDE))
    best: tuple[int, Any, bool] = (0, None, False)
    for mirrored in (False, True):
        picture = _square(source[:, ::-1] if mirrored else source, _SIDE)
        points, found = _features(picture)
        if found is None or wanted is None:
            continue
        matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(found, wanted)
        if len(matches) < 6:
            continue
        cv2.setRNGSeed(0)  # RANSAC draws from it
        similarity, agreed = cv2.estimateAffinePartial2D(
            np.array([points[match.queryIdx].pt for match in matches], np.float32),
            np.array([wanted_points[match.trainIdx].pt for match in matches], np.float32),
            ransacReprojThreshold=4,
            maxIters=4000,
        )
        if similarity is not None and int(agreed.sum()) > best[0]:
            best = (int(agreed.sum()), similarity, mirrored)
    return best


def _square(picture: Pixels, side: int) -> Pixels:
    return np.asarray(cv2.resize(np.ascontiguousarray(picture), (side, side), interpolation=cv2.INTER_AREA), np.uint8)
