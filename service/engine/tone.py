"""Keeps the result of a change of light looking like a photograph."""

from __future__ import annotations

import cv2
import numpy as np

from service.engine.arrays import LUMA_WEIGHTS, FloatArray, resize

_HIGHLIGHTS = np.float32(0.92)
_SHADOWS = np.float32(0.05)
_LEAST_CONTRAST = 0.82
_MOST_CONTRAST = 1.2
_MOST_BRIGHTNESS_CHANGE = 0.16


def soft_clip(image: FloatArray) -> FloatArray:
    """``image`` with what lies above .92 or below .05 bent smoothly into 0..1, so that no highlight tears."""
    headroom = 1 - _HIGHLIGHTS
    high = np.maximum(image - _HIGHLIGHTS, 0)
    low = np.maximum(_SHADOWS - image, 0)
    middle = np.clip(image, _SHADOWS, _HIGHLIGHTS)
    bent = middle + headroom * np.tanh(high / headroom) - _SHADOWS * np.tanh(low / _SHADOWS)
    return np.asarray(bent, np.float32)


def hold_contrast(image: FloatArray, reference: FloatArray) -> FloatArray:
    """``image`` with its luma contrast within .82 to 1.2 of the reference's, and its brightness drawn towards it.

    Neither milky nor crushed results. Both H x W x 3 in 0..1.
    """
    luma, luma_wanted = _small_luma(image), _small_luma(reference)
    gain = float(luma_wanted.std() / (luma.std() + 1e-4))
    if gain > 1 / _LEAST_CONTRAST:
        gain *= _LEAST_CONTRAST
    elif gain < 1 / _MOST_CONTRAST:
        gain *= _MOST_CONTRAST
    else:
        gain = 1.0
    gain = float(np.clip(gain, 0.6, 1.8))
    mean, wanted = float(luma.mean()), float(luma_wanted.mean())
    nearest = np.clip(mean, wanted - _MOST_BRIGHTNESS_CHANGE, wanted + _MOST_BRIGHTNESS_CHANGE)
    new_mean = mean + 0.35 * (float(nearest) - mean)
    if abs(gain - 1) < 1e-3 and abs(new_mean - mean) < 1e-3:
        return image
    return np.asarray(np.clip((image - np.float32(mean)) * np.float32(gain) + np.float32(new_mean), 0, 1), np.float32)


def _small_luma(image: FloatArray) -> FloatArray:
    return np.asarray(resize(image, 64, 64, cv2.INTER_AREA) @ LUMA_WEIGHTS, np.float32)
