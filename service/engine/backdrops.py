"""Grounds that are painted anew: colours, gradients, washes, wood."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from service.engine.arrays import FloatArray, gaussian_blur, resize, unit
from service.engine.looks import clouds

_DITHER = 0.7 / 255


def colour(hue: float, saturation: float, value: float) -> FloatArray:
    """RGB in 0..1 of a hue in degrees, with saturation and value in 0..1."""
    hsv = np.array([[[hue % 360, np.clip(saturation, 0, 1), np.clip(value, 0, 1)]]], np.float32)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0], np.float32)


def gradient(
    height: int,
    width: int,
    top: FloatArray,
    bottom: FloatArray,
    spot: tuple[float, float] = (0.0, 0.0),
    strength: float = 0.0,
) -> FloatArray:
    """H x W x 3 from one colour to another, lit around ``spot`` (-1..1 from left to right and top to bottom).

    Dithered by a fraction of a level, or it would show bands.
    """
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    ground = np.broadcast_to(top * (1 - down) + bottom * down, (height, width, 3)).astype(np.float32)
    if strength:
        x = np.linspace(-1, 1, width, dtype=np.float32)[None] - spot[0]
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] - spot[1]
        distance = np.hypot(x, y)
        lit = 1 + strength * np.exp(-((distance / 0.75) ** 2)) - strength * 0.45 * np.clip(distance - 0.6, 0, 1.2)
        ground = ground * lit[..., None]
    noise = np.random.default_rng(1).normal(size=(height, width, 1)).astype(np.float32) * np.float32(_DITHER)
    return unit(ground + noise)


def wood(height: int, width: int, generator: np.random.Generator, side: int) -> FloatArray:
    """A desk of wood, lit from one side."""
    blotches = clouds(height, width, generator)
    fibres = generator.normal(size=(max(8, height // 3), max(3, width // 160))).astype(np.float32)
    grain = gaussian_blur(resize(fibres, height, width, cv2.INTER_CUBIC), 0.8)
    light, dark = np.array([0.62, 0.47, 0.34], np.float32), np.array([0.50, 0.36, 0.25], np.float32)
    ground = gradient(height, width, light, dark, (-side * 0.4, -0.5), 0.25)
    return unit(ground * (1 + 0.05 * grain[..., None] + 0.03 * blotches[..., None]))


def wash(
    height: int, width: int, one: FloatArray, other: FloatArray, reach: FloatArray, generator: np.random.Generator
) -> FloatArray:
    """Two diluted pigments on white paper, as far as ``reach`` (H x W, above .5 wet) lets them run."""
    first, second = clouds(height, width, generator), clouds(height, width, generator)
    pigment = one + (other - one) * np.clip(0.5 + 0.45 * second, 0, 1)[..., None]
    wet = np.clip((reach * 1.5 + 0.25 * first - 0.12) * 2.2, 0, 1)
    rim = gaussian_blur((np.abs(wet - 0.5) < 0.12).astype(np.float32), 1.5)
    grain = gaussian_blur(generator.normal(size=(height, width)).astype(np.float32), 0.8) * 2
    covering = (wet * (0.8 + 0.2 * np.clip(first, -1, 1)))[..., None]
    washed = 1 + (pigment - 1) * covering
    washed = washed * (1 - 0.05 * rim[..., None]) * (1 + 0.012 * (grain * wet)[..., None])
    return unit(washed)


def shadow(alpha: npt.NDArray[Any], right: float, down: float, softness: float, strength: float) -> FloatArray:
    """H x W: the shadow that a figure casts, moved and softened by so many pixels."""
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    cast = cv2.warpAffine(alpha, matrix, (alpha.shape[1], alpha.shape[0]))
    return unit(gaussian_blur(cast, softness) * strength)
