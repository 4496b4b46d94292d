"""The subject of a photograph: the people, the animal or the thing that the picture is about."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from service.engine.arrays import ByteArray, FloatArray, dilate, luma, resize, unit
from service.engine.boxes import Box, box_mask
from service.engine.detect import Findings
from service.engine.kinds import Kind

_LEAST_FACE = 0.001
_SOFT_FACE = 0.004
_SURE_THING = 0.35
_LEAST_PART = 0.004
_MOST_FORBIDDEN = 0.85


@dataclass(frozen=True, slots=True, eq=False)
class Matte:
    """The matte of the subject: its share of each pixel.

    Attributes:
        kind: PHOTO, PEOPLE or SUBJECT.
        matte: H x W, 0..1; all 0 where there is no clear subject.
        is_sure: Whether the outline is good enough to treat subject and ground apart.
    """

    kind: Kind
    matte: FloatArray = field(repr=False)
    is_sure: bool


def find_matte(image: FloatArray, findings: Findings, thing: FloatArray, confidence: float) -> Matte:
    """The subject of a photograph (H x W x 3 in 0..1).

    Args:
        thing: H x W, 0..1: the mask of what stands out by contrast, and how sure that is.
    """
    kind, matte, is_sure = _choose(findings, thing, confidence)
    pixels = image.shape[0] * image.shape[1]
    if any(box.mean_of(matte) < 0.5 and box.area > 0.006 * pixels for box in findings.texts):
        is_sure = False  # large text on the ground would be blurred with it
    _fade_small_parts(matte, pixels)
    return Matte(kind, guided(matte, image, max(4, min(image.shape[:2]) // 40)), is_sure)


def _choose(findings: Findings, thing: FloatArray, confidence: float) -> tuple[Kind, FloatArray, bool]:
    people = findings.people
    persons = people > 0.5
    held = [face for face in findings.faces if face.mean_of(persons) > 0.5]
    pixels = people.size
    faces_area = sum(face.area for face in held) / pixels
    if findings.faces and faces_area > _LEAST_FACE:
        matte = people.copy()
        for face in findings.faces:
            if face not in held:  # the network for people missed this one: an oval must do
                _add_oval(matte, face)
        return Kind.PEOPLE, matte, faces_area > _SOFT_FACE and len(held) == len(findings.faces)
    things = thing > 0.5
    agreement = float((persons & things).sum() / max(1, (persons | things).sum()))
    if agreement > 0.5 and 0.03 < persons.mean() < 0.7:
        return Kind.SUBJECT, np.maximum(people, thing), agreement > 0.8 and confidence > 0.4
    if confidence > _SURE_THING:
        return Kind.PHOTO, thing.copy(), False
    decided = ((people > 0.2) & (people < 0.8)).mean() < 0.5 * persons.mean()
    if persons.mean() > 0.08 and decided:
        return Kind.PHOTO, people.copy(), False
    return Kind.PHOTO, np.zeros_like(people), False


def _add_oval(matte: FloatArray, face: Box) -> None:
    centre = (int(face.left + face.width / 2), int(face.top + face.height * 0.45))
    cv2.ellipse(matte, centre, (int(face.width * 0.7) + 1, int(face.height * 0.75) + 1), 0, 0, 360, 1.0, -1)


def _fade_small_parts(matte: FloatArray, pixels: int) -> None:
    count, labels, statistics, _ = cv2.connectedComponentsWithStats((matte > 0.5).astype(np.uint8))
    for number in range(1, count):
        if statistics[number][cv2.CC_STAT_AREA] < _LEAST_PART * pixels:
            matte[labels == number] *= 0.2


def guided(mask: FloatArray, image: FloatArray, radius: int, smoothing: float = 1e-3) -> FloatArray:
    """``mask`` drawn to the edges of ``image``: the guided filter of He, Sun and Tang ("Guided Image Filtering", PAMI
    2013) with its luma as guide; then stretched, so that what is nearly sure becomes sure."""
    guide = luma(image)

    def mean(values: FloatArray) -> FloatArray:
        return np.asarray(cv2.blur(values, (2 * radius + 1, 2 * radius + 1)), np.float32)

    mean_guide, mean_mask = mean(guide), mean(mask)
    spread = mean(guide * guide) - mean_guide * mean_guide + np.float32(smoothing)
    slope = np.asarray((mean(guide * mask) - mean_guide * mean_mask) / spread, np.float32)
    drawn = mean(slope) * guide + mean(mean_mask - slope * mean_guide)
    return unit((drawn - 0.08) / 0.84)


def protected(matte: FloatArray, findings: Findings) -> FloatArray:
    """H x W, 1 where nothing may be cut: subject, heads, text."""
    solid = cv2.morphologyEx((matte > 0.4).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    heads = [face.grown(0.25, 0.6, 0.25, 0.25) for face in findings.faces]
    return unit(solid + box_mask(matte.shape, heads) + box_mask(matte.shape, findings.texts))


def forbidden(protect: FloatArray, findings: Findings, thing: FloatArray, salience: FloatArray) -> ByteArray:
    """H x W, 1 where no patch may be taken from to fill what a wider frame uncovers: no twins.

    What is protected, and of what might matter besides as much as leaves enough to take from.
    """
    height, width = protect.shape
    margin = max(3, min(height, width) // 28) | 1
    found: FloatArray = dilate(protect.astype(np.uint8), margin).astype(np.float32)
    depth = max(2, int(0.015 * height))
    persons = (findings.people > 0.5).astype(np.float32)
    # On skies the network for people answers along the top: then it counts for nothing.
    if persons[:depth].mean() >= max(0.5, min(0.9, float(persons[-depth:].mean()))):
        persons = np.zeros_like(persons)
    # Without a subject, everything that draws the eye may be one.
    salient_limit = 0.4 if protect.any() else 0.5
    threshold = 0.6 if protect.any() else 0.45
    salient = (resize(salience, height, width, cv2.INTER_LINEAR) > threshold).astype(np.float32)
    for extra, most in (((thing > 0.5).astype(np.float32), 0.5), (persons, 0.75), (salient, salient_limit)):
        together = np.maximum(found, extra)
        if together.mean() < most:
            found = together
    return np.asarray((found if found.mean() <= _MOST_FORBIDDEN else protect) > 0.3, np.uint8)
