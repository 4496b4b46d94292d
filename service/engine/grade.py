"""Other light without a network: split toning, exposure and a light from one side."""

from __future__ import annotations

import cv2
import numpy as np

from service.engine.arrays import FloatArray, from_lab, resize, to_lab
from service.engine.random_streams import Stream, light_angle, random_stream
from service.engine.tone import hold_contrast


def grade(image: FloatArray, *, seed: int, index: int, amount: float) -> FloatArray:
    """``image`` (H x W x 3 in 0..1) in other light, ``amount`` in 0..1; a new array.

    Highlights and shadows get opposite hues, which turn by the golden angle with each index.
    """
    height, width = image.shape[:2]
    generator = random_stream(seed, Stream.LIGHT, index)
    exposure, contrast = generator.normal(0, 0.35) * amount, 1 + generator.normal(0, 0.25) * amount
    direction = generator.uniform(0, 2 * np.pi)
    saturation = 1 + generator.normal(0, 0.25) * amount
    local_contrast = 1 + 0.3 * amount * generator.normal()
    lab = to_lab(image)
    lightness = np.asarray(lab[..., 0] / np.float32(100), np.float32)
    base = _base_layer(lightness)
    detail = lightness - base
    middle = np.float32(base.mean())
    lit = np.clip((base - middle) * np.float32(contrast) + middle, 0, 1) ** np.float32(2**-exposure)
    across = np.linspace(-1, 1, width, dtype=np.float32)[None] * np.float32(np.cos(direction))
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(np.sin(direction))
    lit *= 1 + (across + down) * np.float32(0.22 * amount)
    tone = np.clip(lit, 0, 1)
    lab[..., 0] = np.clip(lit + detail * np.float32(local_contrast), 0, 1) * 100
    angle = light_angle(seed, index)
    # The midtones take most of the tint: black and white hardly any.
    weight = 4 * tone * (1 - tone) + np.float32(0.25)
    for channel, wave in ((1, np.cos), (2, np.sin)):
        in_highlights = np.float32(14 * amount * wave(angle))
        in_shadows = np.float32(-10 * amount * wave(angle + 0.6))
        tint = tone * in_highlights + (1 - tone) * in_shadows
        lab[..., channel] = lab[..., channel] * np.float32(saturation) + tint * weight
    return hold_contrast(np.clip(from_lab(lab), 0, 1), image)


def _base_layer(lightness: FloatArray) -> FloatArray:
    """Lightness without detail but with its large edges."""
    height, width = lightness.shape
    small = resize(lightness, max(2, height // 8), max(2, width // 8), cv2.INTER_AREA)
    smooth = cv2.bilateralFilter(small, -1, 0.15, 6)
    return resize(np.asarray(smooth, np.float32), height, width, cv2.INTER_LINEAR)
