"""Detection of content that must be neither cut, nor doubled, nor mirrored: people, faces, text.

Uses the small networks if they are installed, else classical methods that find less.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from service.engine.arrays import ByteArray, FloatArray
from service.engine.boxes import Box
from service.engine.networks.faces import find_faces
from service.engine.networks.person import find_people
from service.engine.networks.text import find_text, is_readable
from service.engine.text_detector import text_lines

_MOST_READ = 12
"""With more boxes than this the picture is text, and reading each of them would only take time."""


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """The detections in one picture, in its pixels.

    Attributes:
        people: H x W, 0..1: how likely each pixel shows a person (or an animal); all 0 without the network.
        faces, texts: Boxes. Only text that can be read counts.
        sees_faces: Whether faces would have been found, had there been any.
    """

    people: FloatArray = field(repr=False)
    faces: tuple[Box, ...]
    texts: tuple[Box, ...]
    sees_faces: bool


def detect(pixels: ByteArray) -> Findings:
    """Looks at a picture (H x W x 3 bytes, RGB; no larger than need be: nothing is seen better beyond 736 px)."""
    people = find_people(pixels)
    faces = find_faces(pixels)
    return Findings(
        people=np.zeros(pixels.shape[:2], np.float32) if people is None else people,
        faces=() if faces is None else tuple(face for face in faces if _is_lively(pixels, face)),
        texts=find_legible_text(pixels),
        sees_faces=faces is not None,
    )


def find_legible_text(pixels: ByteArray) -> tuple[Box, ...]:
    """The boxes of lines of text that can be read."""
    found = find_text(pixels)
    if found is None:
        return text_lines(pixels)
    if len(found) > _MOST_READ:
        return found
    return tuple(box for box in found if is_readable(pixels, box))


def _is_lively(pixels: ByteArray, face: Box) -> bool:
    """False for flat areas: on drawings and screens the network sees faces where there is nothing at all."""
    part = pixels[face.window(pixels)]
    if min(part.shape[:2]) < 6:
        return False
    return float(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).std()) > 8.0
