"""Other light on the same scene: fields of gamma, which keep black black and white white."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from service.engine.arrays import FloatArray, gaussian_blur, luma, mix, resize, unit


@dataclass(frozen=True, slots=True)
class Light:
    """A light.

    Attributes:
        gamma: The exponent for red, green and blue: below 1 brighter.
        directed: How strongly it comes from one side.
        saturation: A factor.
        side: Where it comes from unless asked otherwise: 1 right, -1 left.
        glow: The strength of its source in the upper corner, and of its warmth along the horizon.
    """

    gamma: tuple[float, float, float]
    directed: float
    saturation: float
    side: int
    glow: float = 0.0


LIGHTS = {
    "evening": Light((0.80, 1.0, 1.26), 0.34, 1.10, 1, glow=1.0),
    "gold": Light((0.86, 0.97, 1.16), 0.24, 1.08, -1, glow=1.0),
    "morning": Light((1.10, 0.95, 0.80), 0.20, 1.03, -1),
    "moon": Light((1.12, 0.92, 0.70), 0.26, 1.08, -1),
    "dusk": Light((1.42, 1.22, 0.90), 0.30, 0.92, -1),
    "high": Light((0.74, 0.74, 0.75), 0.12, 0.94, 1),
    "low": Light((1.34, 1.36, 1.34), 0.34, 1.06, -1),
    "natural": Light((0.95, 0.97, 0.99), 0.22, 1.12, 1),
    "punch": Light((1.02, 1.02, 1.02), 0.30, 1.15, 1),
}

_STEEPEST = 0.6
"""The largest change of the logarithm of gamma."""

_GLOW_COLOUR = np.array([1, 0.80, 0.50], np.float32)
_HORIZON_COLOUR = np.array([1, 0.60, 0.24], np.float32)
_HORIZON_FILTER = np.array([1.0, 0.90, 0.70], np.float32)
_SHARPEST_BLUR = 6
"""Radius in pixels up to which a blur is computed at full resolution (and up to twice that)."""

_MIST = np.array([0.80, 0.88, 0.97], np.float32)


def light(
    image: FloatArray,
    name: str,
    amount: float = 1.0,
    *,
    side: int | None = None,
    matte: FloatArray | None = None,
    skin: FloatArray | None = None,
    glow: bool = True,
) -> FloatArray:
    """``image`` (H x W x 3 in 0..1) in the light ``name``; a new array.

    Each pixel is raised to a power that varies smoothly over the picture, so that pure black and pure white stay.

    Args:
        name: Of ``LIGHTS``.
        amount: 0 none, 1 all of it.
        side: 1 from the right, -1 from the left.
        matte: H x W: the subject, which light shapes as a solid.
        skin: H x W: where faces are; their colour changes less.
        glow: Whether a low sun may be seen to shine in.
    """
    chosen = LIGHTS[name]
    side = chosen.side if side is None else side
    grey = luma(image)
    y = np.linspace(-1, 1, image.shape[0], dtype=np.float32)[:, None]
    gamma = np.log(np.array(chosen.gamma, np.float32)) * np.float32(amount)
    change = np.clip(gamma - _direction(chosen, grey, side, matte, amount)[..., None], -_STEEPEST, _STEEPEST)
    if skin is not None:
        mean = change.mean(2, keepdims=True)
        change = mix(change, np.clip(mean, -0.2, 0.16) + 0.4 * (change - mean), skin)
    lit = np.power(np.clip(image, 0, 1), np.exp(change))
    if name == "low" and matte is not None:  # the ground falls back
        lit = np.power(lit, np.exp(0.5 * amount * (1 - gaussian_blur(matte, max(image.shape) / 40)))[..., None])
    if glow and chosen.glow:
        lit = _with_sun(lit, grey, side, skin, amount)
    if name == "punch":
        lit = lit + 0.38 * lit * (1 - lit) * (2 * lit - 1)
    if glow and name == "high":
        bloom = gaussian_blur(unit(lit - 0.55), max(image.shape) / 50)
        lit = 1 - (1 - lit) * (1 - 0.45 * amount * bloom)
    if name == "morning" and float(lit.mean()) > 0.12:
        mist = 0.09 * amount * np.clip(-y, 0, 1) * (1 if matte is None else 1 - 0.8 * matte)
        # Less on very light and dark tones: mist must not grey a white sky or a black ground.
        mist = mist * np.clip(8 * grey * (1 - grey), 0, 1)
        lit = lit + (_MIST - lit) * mist[..., None]
    lit_grey = luma(lit.astype(np.float32))[..., None]
    lit = lit_grey + (lit - lit_grey) * (1 + (chosen.saturation - 1) * amount)
    return unit(lit)


def _direction(chosen: Light, grey: FloatArray, side: int, matte: FloatArray | None, amount: float) -> FloatArray:
    """The light on each pixel: from the picture's own relief, and a ramp across it."""
    height, width = grey.shape
    longest = max(height, width)
    relief = gaussian_blur(grey, longest / 60) * 0.8
    if matte is not None:
        relief = relief + gaussian_blur(matte, longest / 28) * 0.9
    slope_x = cv2.Sobel(relief, cv2.CV_32F, 1, 0) / 8 * longest / 9
    slope_y = cv2.Sobel(relief, cv2.CV_32F, 0, 1) / 8 * longest / 9
    shading = np.tanh(gaussian_blur(side * slope_x * 0.8 + slope_y * 0.6, longest / 120))
    across = np.linspace(-1, 1, width, dtype=np.float32)[None] * -side
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    ramp = np.clip(0.55 * across - 0.25 * down, -1, 1)
    return np.asarray(chosen.directed * (shading + 0.9 * ramp) * amount, np.float32)


def _with_sun(lit: FloatArray, grey: FloatArray, side: int, skin: FloatArray | None, amount: float) -> FloatArray:
    """A low sun in the upper corner; over landscapes, also warmth along the horizon."""
    height, width = grey.shape
    across = (np.linspace(-1, 1, width, dtype=np.float32)[None] * side + 1) * 0.75 - 0.05
    down = (np.linspace(-1, 1, height, dtype=np.float32)[:, None] + 1) * 0.75
    strength = np.exp(-((np.hypot(across, down) / 0.70) ** 2)) * (0.46 * amount)
    if skin is not None:
        strength = strength * (1 - 0.7 * skin)
    share = (grey * 0.9 + 0.1) * strength
    lit = 1 - (1 - lit) * (1 - share[..., None] * _GLOW_COLOUR)
    if skin is not None:
        return np.asarray(lit, np.float32)
    place = (np.linspace(0, 1, height, dtype=np.float32) - _horizon(grey)) / 0.30
    band = np.exp(-(place**2))[:, None] * amount
    # White stays white: the filter fades towards it.
    filtered = np.power(_HORIZON_FILTER, ((0.25 + 0.75 * band) * (1 - grey**8))[..., None])
    lit = lit * filtered
    share = 0.34 * band * np.clip(luma(lit.astype(np.float32)) * 1.2, 0, 1)
    return np.asarray(1 - (1 - lit) * (1 - share[..., None] * _HORIZON_COLOUR), np.float32)


def _horizon(grey: FloatArray) -> float:
    """The height at which brightness drops most from top to bottom, as a share; .55 where it hardly does."""
    height = grey.shape[0]
    rows = gaussian_blur(np.ascontiguousarray(grey.mean(1, keepdims=True)), height / 40)[:, 0]
    depth = max(1, height // 12)
    drops = [
        float(rows[max(0, row - depth) : row].mean() - rows[row : row + depth].mean())
        for row in range(depth, height - depth)
    ]
    if not drops or max(drops) <= 0.06:
        return 0.55
    return float((depth + int(np.argmax(drops))) / height)


def falloff(
    image: FloatArray, centre: tuple[float, float], strength: float, matte: FloatArray | None = None
) -> FloatArray:
    """``image`` with light that falls off around ``centre`` (x, y in pixels); less so on the subject."""
    height, width = image.shape[:2]
    longest = max(height, width)
    x = (np.arange(width, dtype=np.float32)[None] - centre[0]) / longest
    y = (np.arange(height, dtype=np.float32)[:, None] - centre[1]) / longest
    exponent = strength * (np.clip((np.hypot(x, y) - 0.16) / 0.42, 0, 1.3) ** 1.3 - 0.30)
    if matte is not None:
        exponent = exponent * (1 - 0.75 * gaussian_blur(matte, longest / 60))
    return np.asarray(np.power(np.clip(image, 0, 1), np.exp(exponent)[..., None]), np.float32)


def defocus(image: FloatArray, matte: FloatArray, radius: int) -> FloatArray:
    """``image`` as a lens of ``radius`` pixels of blur shows what lies behind the subject.

    The subject itself leaves no halo: it is left out of the average. Averaged in linear light, so that lamps become
    discs.
    """
    reduction = radius // _SHARPEST_BLUR
    if reduction > 1:  # nothing as fine as a pixel is left: a smaller picture is blurred as well, and much faster
        height, width = matte.shape
        rows, columns = max(8, height // reduction), max(8, width // reduction)
        small = defocus(resize(image, rows, columns), resize(matte, rows, columns), round(radius / reduction))
        return unit(resize(small, height, width, cv2.INTER_CUBIC))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (x * x + y * y <= radius * radius + 0.5).astype(np.float32)
    disc /= disc.sum()
    hole = cv2.dilate((matte > 0.25).astype(np.uint8), np.ones((5, 5), np.uint8))
    weight = np.asarray(1 - hole, np.float32)
    linear = np.power(image, 2.2) * (1 + 2.5 * np.clip(luma(image) - 0.8, 0, 1))[..., None]
    weighted = np.asarray(linear * weight[..., None], np.float32)
    near = cv2.filter2D(weighted, -1, disc, borderType=cv2.BORDER_REFLECT)
    near_weight = cv2.filter2D(weight, -1, disc, borderType=cv2.BORDER_REFLECT)
    far, far_weight = gaussian_blur(weighted, radius * 3), gaussian_blur(weight, radius * 3)
    blurred = mix(
        far / np.maximum(far_weight, 1e-4)[..., None],
        near / np.maximum(near_weight, 1e-3)[..., None],
        unit(near_weight * 4),
    )
    return np.asarray(np.power(np.clip(blurred, 0, 1), 1 / 2.2), np.float32)
