"""The salience of each part of a picture, and a mask of its main subject if there clearly is one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import cv2
import numpy as np

from service.engine.arrays import ByteArray, FloatArray, as_bytes, gaussian_blur, resize, to_lab
from service.engine.kernels import kernels

_SALIENCY_SIDE = 96
_MASK_SIDE = 160
_SMALLEST_SEGMENTED_SIDE = 8


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """The main subject: a mask of 0 and 1 over the whole picture, and how sure it is, in 0..1."""

    mask: ByteArray = field(repr=False)
    confidence: float


def saliency(rgb: FloatArray) -> FloatArray:
    """Per pixel, 0..1; long side 96 whatever the size of ``rgb`` (H x W x 3 in 0..1), short side at least 16.

    What no path without contrast leads to from the border, and what differs in colour from three of the four
    borders, more so near the centre.
    """
    height, width = rgb.shape[:2]
    scale = _SALIENCY_SIDE / max(height, width)
    small = resize(rgb, max(16, round(height * scale)), max(16, round(width * scale)), cv2.INTER_AREA)
    lab = to_lab(gaussian_blur(small, 1.0))
    barrier = kernels.minimum_barrier(np.ascontiguousarray(lab), 6)
    return _normalised(
        gaussian_blur((_normalised(barrier) + _normalised(_border_contrast(lab))) * _centre_prior(lab.shape), 1.5)
    )


def find_subject(rgb: FloatArray, salience: FloatArray) -> Subject:
    """The salient object, cut out by GrabCut (Rother et al., SIGGRAPH 2004) seeded with ``salience``.

    The mask's long side is 160. Where nothing stands out the mask is empty and the confidence 0.
    """
    height, width = rgb.shape[:2]
    scale = _MASK_SIDE / max(height, width)
    mask_height, mask_width = max(1, round(height * scale)), max(1, round(width * scale))
    nothing = Subject(np.zeros((mask_height, mask_width), np.uint8), 0.0)
    if min(mask_height, mask_width) < _SMALLEST_SEGMENTED_SIDE:
        return nothing
    scores = resize(salience, mask_height, mask_width, cv2.INTER_LINEAR)
    foreground = _grab_cut(as_bytes(resize(rgb, mask_height, mask_width, cv2.INTER_AREA)), scores)
    if foreground is None:
        return nothing
    blob = _largest_blob(foreground)
    if blob is None:
        return nothing
    return Subject(blob, _confidence(blob, foreground, scores))


def _border_contrast(lab: FloatArray) -> FloatArray:
    """The mean of the three smallest Mahalanobis distances to the colours of the four borders."""
    depth = max(2, _SALIENCY_SIDE // 14)
    distances = []
    for border in (lab[:depth], lab[-depth:], lab[:, :depth], lab[:, -depth:]):
        colours = border.reshape(-1, 3)
        # The diagonal keeps even-coloured borders from making everything else infinitely far.
        spread = np.linalg.cholesky(np.linalg.inv(np.cov(colours.T) + np.eye(3) * 20))
        distances.append(np.sqrt((((lab - colours.mean(0)) @ spread) ** 2).sum(-1)))
    three_smallest = np.sort(np.stack(distances), 0)[:3]
    return np.asarray(three_smallest.mean(0), np.float32)


def _centre_prior(shape: tuple[int, ...]) -> FloatArray:
    height, width = shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    bell = np.exp(-(((y / height - 0.5) / 0.45) ** 2 + ((x / width - 0.5) / 0.45) ** 2))
    return np.asarray(0.35 + 0.65 * bell, np.float32)


def _normalised(values: FloatArray) -> FloatArray:
    """Stretched so that the least is 0 and the 99th percentile 1."""
    least = values.min()
    return np.asarray(np.clip((values - least) / (np.percentile(values, 99) - least + 1e-6), 0, 1), np.float32)


def _grab_cut(pixels: ByteArray, scores: FloatArray) -> ByteArray | None:
    otsu, _ = cv2.threshold(as_bytes(scores), 0, 255, cv2.THRESH_OTSU)
    threshold = max(0.3, otsu / 255)
    labels = np.full(scores.shape, cv2.GC_BGD, np.uint8)
    labels[scores > threshold * 0.5] = cv2.GC_PR_BGD
    labels[scores > threshold] = cv2.GC_PR_FGD
    labels[scores > min(0.9, threshold * 1.5)] = cv2.GC_FGD
    # GrabCut draws from OpenCV's generator, of which every thread has its own: seeding it here, on the thread
    # that is going to use it, makes the result independent of what ran before and of other threads.
    cv2.setRNGSeed(0)
    try:
        cv2.grabCut(
            cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR),
            labels,
            (0, 0, 1, 1),  # not used in this mode
            np.zeros((1, 65)),
            np.zeros((1, 65)),
            3,
            cv2.GC_INIT_WITH_MASK,
        )
    except cv2.error:  # it refuses when one of the two classes is empty
        return None
    foreground = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8)
    opened = cv2.morphologyEx(foreground, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return cast(ByteArray, cv2.morphologyEx(opened, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)))


def _largest_blob(foreground: ByteArray) -> ByteArray | None:
    """The largest connected part with its holes filled, or None when there is none."""
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(foreground)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    blob = (labels == largest).astype(np.uint8)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats((1 - blob).astype(np.uint8))
    for number in range(1, count):
        left, top, width, height = (int(v) for v in statistics[number][:4])
        if left > 0 and top > 0 and left + width < blob.shape[1] and top + height < blob.shape[0]:
            blob[labels == number] = 1
    return np.asarray(blob, np.uint8)


def _confidence(blob: ByteArray, foreground: ByteArray, scores: FloatArray) -> float:
    """High for one compact, solid, contrasting thing of moderate size that the frame does not cut."""
    area = float(blob.mean())
    if area >= 0.45:
        return 0.0
    contrast = float(scores[blob > 0].mean() - scores[blob == 0].mean())
    on_frame = float(np.concatenate([blob[0], blob[-1], blob[:, 0], blob[:, -1]]).mean())
    alone = blob.sum() / max(1, foreground.sum())
    contours, _ = cv2.findContours(blob, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    solidity = min(1.0, blob.sum() / max(1.0, cv2.contourArea(cv2.convexHull(contours[0]))))
    return float(
        np.clip(contrast * 1.6, 0, 1)
        * alone
        * solidity
        * np.clip((0.45 - area) / 0.15, 0, 1)
        * np.clip((area - 0.01) / 0.02, 0, 1)
        * np.clip(1 - on_frame * 12, 0, 1)
    )
