"""Array types of the engine, and the few OpenCV calls it makes often, typed.

Whatever needs numpy and OpenCV in this package imports them through or after this module, so that importing
``service.engine`` alone stays cheap.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
IndexArray = npt.NDArray[np.int32]
AnyArray = TypeVar("AnyArray", bound=npt.NDArray[Any])

# Work is spread over images by the caller's threads. OpenCV's own pool would fight with them for the cores,
# and would make results depend on how many there are.
cv2.setNumThreads(1)

LUMA_WEIGHTS: FloatArray = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. 601 luma of an RGB triple."""


def as_float(pixels: ByteArray) -> FloatArray:
    """Bytes 0..255 as floats 0..1."""
    return np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)


def unit(values: npt.NDArray[Any]) -> FloatArray:
    """``values`` clipped to 0..1."""
    return np.asarray(np.clip(values, 0, 1), np.float32)


def as_bytes(pixels: npt.NDArray[Any]) -> ByteArray:
    """Floats as bytes, rounded, values outside 0..1 clipped."""
    scaled = np.clip(pixels, 0.0, 1.0) * np.float32(255) + np.float32(0.5)
    return cast(ByteArray, scaled.astype(np.uint8))


def resize(array: AnyArray, height: int, width: int, method: int | None = None) -> AnyArray:
    """``array`` at the given size; by area when shrinking, bicubic when growing, unless ``method`` says otherwise."""
    if array.shape[:2] == (height, width):
        return array
    if method is None:
        method = cv2.INTER_AREA if height < array.shape[0] else cv2.INTER_CUBIC
    return cast(AnyArray, cv2.resize(np.ascontiguousarray(array), (width, height), interpolation=method))


def resize_to(array: AnyArray, shape: tuple[int, ...], method: int | None = None) -> AnyArray:
    """``array`` at the height and width with which ``shape`` begins."""
    return resize(array, shape[0], shape[1], method)


def shrink_to(array: ByteArray, longest: int) -> ByteArray:
    """``array`` with its long side at most ``longest``; untouched when it is already."""
    height, width = array.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return array
    return resize(array, max(1, round(height * scale)), max(1, round(width * scale)), cv2.INTER_AREA)


def gaussian_blur(array: npt.NDArray[Any], sigma: float) -> FloatArray:
    """``array`` smoothed by a Gaussian of ``sigma`` pixels; of .3 at least, below which OpenCV refuses."""
    return cast(FloatArray, cv2.GaussianBlur(array, (0, 0), max(0.3, float(sigma))))


def luma(rgb: npt.NDArray[Any]) -> FloatArray:
    """H x W x 3 in 0..1 to its luma, H x W."""
    return cast(FloatArray, cv2.transform(np.asarray(rgb, np.float32), LUMA_WEIGHTS[None]))


def mix(one: npt.NDArray[Any], other: npt.NDArray[Any], share: npt.NDArray[Any] | float) -> FloatArray:
    """``one`` where ``share`` is 0, ``other`` where it is 1. A share for each pixel (H x W) serves all channels."""
    if isinstance(share, np.ndarray):
        if share.ndim == 2 and max(one.ndim, other.ndim) == 3:
            share = share[..., None]
        return np.asarray(one + (other - one) * share, np.float32)
    return np.asarray(one + (other - one) * np.float32(share), np.float32)


def to_grey(rgb: FloatArray) -> FloatArray:
    """H x W x 3 to the same picture without colour."""
    return np.repeat(luma(rgb)[..., None], 3, axis=2)


def to_lab(rgb: FloatArray) -> FloatArray:
    """RGB 0..1 to CIE Lab (L 0..100)."""
    return cast(FloatArray, cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab))


def dilate(mask: ByteArray, side: int) -> ByteArray:
    """``mask`` grown by a square of ``side`` pixels."""
    return cast(ByteArray, cv2.dilate(mask, np.ones((side, side), np.uint8)))
