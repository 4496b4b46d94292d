"""A painting of the scene, by the style network."""

from __future__ import annotations

import cv2
import numpy as np

from service.engine.arrays import FloatArray, resize
from service.engine.local_affine import fit_local_affine
from service.engine.style_network import RENDER_SIDE, render, style_direction

_FIT_RADIUS = 2
_FIT_SMOOTHING = 1e-3
_DETAIL = 0.6


def restyle(image: FloatArray, own_style: FloatArray, *, seed: int, index: int, amount: float) -> FloatArray:
    """``image`` (H x W x 3 in 0..1) painted in a style ``amount`` away from its own; a new array.

    Larger pictures than the network renders are 60 % the rendering fitted to the picture's own edges, 40 %
    the rendering enlarged.
    """
    height, width = image.shape[:2]
    large = max(height, width) > RENDER_SIDE
    small = resize(image, RENDER_SIDE, RENDER_SIDE, cv2.INTER_AREA if large else cv2.INTER_CUBIC)
    painted = render(small, own_style + np.float32(amount) * style_direction(seed, index))
    if not large:
        return resize(painted, height, width, cv2.INTER_AREA)
    sharp = fit_local_affine(small, painted, _FIT_RADIUS, _FIT_SMOOTHING).apply(image)
    enlarged = resize(painted, height, width, cv2.INTER_CUBIC)
    return np.clip(_DETAIL * sharp + (1 - _DETAIL) * enlarged, 0, 1).astype(np.float32)
