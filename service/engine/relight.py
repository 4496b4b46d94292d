"""Other light on the same scene: the style network's idea of it, transferred so that it stays a photograph."""

from __future__ import annotations

import cv2
import numpy as np

from service.engine.arrays import FloatArray, resize
from service.engine.local_affine import fit_local_affine
from service.engine.style_network import RENDER_SIDE, render, style_direction
from service.engine.tone import hold_contrast, soft_clip

_FIT_SIDE = 192
_FIT_RADIUS = 10
_FIT_SMOOTHING = 4e-3


def relight(image: FloatArray, own_style: FloatArray, *, seed: int, index: int, amount: float) -> FloatArray:
    """``image`` (H x W x 3 in 0..1) as if photographed in other light; a new array.

    What is fitted and transferred is the difference between two renderings, in the picture's own style moved by
    ``amount`` and in its own style unmoved: the network's brush strokes are in both, and cancel.
    """
    small = resize(
        image, RENDER_SIDE, RENDER_SIDE, cv2.INTER_AREA if max(image.shape) > RENDER_SIDE else cv2.INTER_CUBIC
    )
    moved = own_style + np.float32(amount) * style_direction(seed, index)
    change = render(small, moved) - render(small, own_style)
    fitted = fit_local_affine(
        resize(small, _FIT_SIDE, _FIT_SIDE, cv2.INTER_AREA),
        resize(change, _FIT_SIDE, _FIT_SIDE, cv2.INTER_AREA),
        _FIT_RADIUS,
        _FIT_SMOOTHING,
    )
    relit = fitted.apply(image)
    relit += image
    return hold_contrast(soft_clip(relit), image)
