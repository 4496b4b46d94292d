"""The engine's detectors, as the cropping of pictures takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service import engine
from service.imaging.resize import Detector, Focus

# A face that is cut is worse than anything else; then a head that is, then what is around them.
_FACE, _HEAD, _SUBJECT = 8.0, 4.0, 1.0
# If no face is found, the head of a subject too tall for the window is taken to be in this part of it.
_UPPER_PART = 0.35


def detector() -> Detector | None:
    """Finds faces, heads and the subject; None where the engine is not installed."""
    return None if engine.availability() else _detected


def _detected(pixels: NDArray[np.uint8]) -> Sequence[Focus]:
    # It brings OpenCV with it, which an idle service should not have in memory.
    from service.engine.boxes import Box
    from service.engine.focus import find_focus

    def focus(box: Box, weight: float) -> Focus:
        sides = (box.left, box.top, box.right, box.bottom)
        left, top, right, bottom = (min(1.0, max(0.0, side)) for side in sides)
        return Focus((left, top, right, bottom), weight)

    found = find_focus(pixels)
    boxes = [focus(face, _FACE) for face in found.faces]
    boxes += [focus(face.grown(0.3, 0.6, 0.3, 0.4), _HEAD) for face in found.faces]
    if found.subject is not None:
        boxes.append(focus(found.subject, _SUBJECT))
        if not found.faces:
            boxes.append(focus(found.subject.grown(0.0, 0.0, 0.0, _UPPER_PART - 1), _HEAD))
    return boxes
