"""A picture's change as a local affine function of its colours: how a small change is carried over to a large picture.

The colour guided filter of He, Sun and Tang ("Guided Image Filtering", PAMI 2013), its coefficients upsampled as
in "Fast Guided Filter" (2015). Edges stay where the large picture has them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import cv2
import numpy as np

from service.engine.arrays import FloatArray, resize


@dataclass(frozen=True, slots=True, eq=False)
class LocalAffine:
    """Per pixel of a coarse grid, out = matrix @ rgb + offset: h x w x 3 (out) x 3 (in), and h x w x 3."""

    matrix: FloatArray = field(repr=False)
    offset: FloatArray = field(repr=False)

    def apply(self, image: FloatArray) -> FloatArray:
        """The function's value for every pixel of ``image`` (H x W x 3, any size), as a new array."""
        height, width = image.shape[:2]
        result = resize(self.offset, height, width, cv2.INTER_LINEAR).copy()
        for channel in range(3):  # one at a time: nine coefficients per pixel would be three images' worth of memory
            coefficients = resize(np.ascontiguousarray(self.matrix[:, :, channel]), height, width, cv2.INTER_LINEAR)
            product = cv2.multiply(coefficients, image)
            result[..., channel] += cv2.transform(product, np.ones((1, 3), np.float32))
        return result


def fit_local_affine(guide: FloatArray, wanted: FloatArray, radius: int, smoothing: float) -> LocalAffine:
    """The functions that best turn ``guide`` into ``wanted`` in each window of ``radius`` pixels, then averaged.

    Both h x w x 3. ``smoothing`` (a variance) says how much colour difference in ``guide`` counts as none.
    """
    side = (2 * radius + 1, 2 * radius + 1)

    def mean(values: FloatArray) -> FloatArray:
        return cast(FloatArray, cv2.blur(values, side, borderType=cv2.BORDER_REFLECT))

    guide_mean, wanted_mean = mean(guide), mean(wanted)
    red, green, blue = (guide[..., channel] for channel in range(3))
    # The covariance of the guide is symmetric: rr, rg, rb and gg, gb, bb say it all.
    first = mean(guide * red[..., None]) - guide_mean * guide_mean[..., :1]
    rest = mean(np.stack([green * green, green * blue, blue * blue], -1))
    mean_green, mean_blue = guide_mean[..., 1], guide_mean[..., 2]
    rr, rg, rb = first[..., 0] + smoothing, first[..., 1], first[..., 2]
    gg = rest[..., 0] - mean_green * mean_green + smoothing
    gb = rest[..., 1] - mean_green * mean_blue
    bb = rest[..., 2] - mean_blue * mean_blue + smoothing
    # Its inverse by cofactors, as columns.
    cofactors = np.stack(
        [
            gg * bb - gb * gb,
            rb * gb - rg * bb,
            rg * gb - rb * gg,
            rr * bb - rb * rb,
            rb * rg - rr * gb,
            rr * gg - rg * rg,
        ],
        -1,
    )
    determinant = rr * cofactors[..., 0] + rg * cofactors[..., 1] + rb * cofactors[..., 2]
    inverse = cofactors / determinant[..., None]
    columns = (inverse[..., [0, 1, 2]], inverse[..., [1, 3, 4]], inverse[..., [2, 4, 5]])
    matrix = np.empty((*guide.shape[:2], 3, 3), np.float32)
    offset = np.empty_like(guide_mean)
    for channel in range(3):
        covariance = mean(guide * wanted[..., channel, None]) - guide_mean * wanted_mean[..., channel, None]
        row = sum(column * covariance[..., k, None] for k, column in enumerate(columns))
        matrix[:, :, channel] = mean(np.ascontiguousarray(row))
        offset[..., channel] = wanted_mean[..., channel] - (row * guide_mean).sum(-1)
    return LocalAffine(matrix, mean(offset))
