"""What is found out about a picture once, for all of its variations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from service.core.values import Size
from service.engine.arrays import ByteArray, FloatArray, as_bytes, as_float, resize, shrink_to, to_lab
from service.engine.saliency import Subject, find_subject, saliency
from service.engine.style_network import style_vector
from service.engine.text_detector import is_text

_MOST_PIXELS = 2048 * 2048
"""What is kept of a larger source: as much as the largest output shows."""

_SALIENCY_SIDE = 96


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A picture and its analysis. Immutable, so any number of threads may vary it at once. Compared by identity.

    Attributes:
        pixels: H x W x 3 bytes, RGB, at most 2048 x 2048 pixels in all.
        salience: What draws the eye, 0..1 over the whole picture, long side 96.
        subject: The main subject, and how sure it is.
        side_difficulty: How hard each side is to extend, 0..1: left, right, top, bottom.
        is_text: Whether it shows lines of text.
        style: The style network's 100 numbers for it, or None where the network is not installed.
    """

    pixels: ByteArray = field(repr=False)
    salience: FloatArray = field(repr=False)
    subject: Subject
    side_difficulty: tuple[float, float, float, float]
    is_text: bool
    style: FloatArray | None = field(repr=False)

    @property
    def size(self) -> Size:
        return Size(width=self.pixels.shape[1], height=self.pixels.shape[0])

    @classmethod
    def analyse(cls, rgb: npt.NDArray[Any]) -> Source:
        """Analyses a picture of any size: H x W x 3, RGB, bytes or floats in 0..1. Does not keep ``rgb``.

        Raises:
            ValueError: ``rgb`` has another shape or type, or no pixels.
        """
        pixels = _bounded(_checked(rgb))
        small = as_float(shrink_to(pixels, 256))
        found = saliency(small)
        height, width = small.shape[:2]
        scale = _SALIENCY_SIDE / max(height, width)
        return cls(
            pixels=pixels,
            salience=resize(found, max(8, round(height * scale)), max(8, round(width * scale)), cv2.INTER_LINEAR),
            subject=find_subject(small, found),
            side_difficulty=_side_difficulty(small),
            is_text=is_text(pixels),
            style=style_vector(small),
        )


def _checked(rgb: npt.NDArray[Any]) -> ByteArray:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ValueError(f"expected an array of shape (height, width, 3), got {rgb.shape}")
    if rgb.dtype == np.uint8:
        return rgb
    if rgb.dtype == np.float32:
        return as_bytes(np.nan_to_num(rgb))
    raise ValueError(f"expected uint8 or float32 pixels, got {rgb.dtype}")


def _bounded(pixels: ByteArray) -> ByteArray:
    """A contiguous copy with at most 2048 x 2048 pixels, so that no photo costs more than that later on."""
    height, width = pixels.shape[:2]
    scale = (_MOST_PIXELS / (height * width)) ** 0.5
    if scale >= 1:
        return pixels.copy(order="C")
    return resize(pixels, max(1, int(height * scale)), max(1, int(width * scale)), cv2.INTER_AREA)


def _side_difficulty(small: FloatArray) -> tuple[float, float, float, float]:
    """The sharpest step along each border strip: an object that the frame cuts is hard to continue."""
    lab = to_lab(resize(small, 48, 48, cv2.INTER_AREA))

    def hardest_step(profile: FloatArray) -> float:
        return float(np.clip(np.abs(np.diff(profile, axis=0)).max() / 35, 0, 1))

    return (
        hardest_step(lab[:, :4].mean(1)),
        hardest_step(lab[:, -4:].mean(1)),
        hardest_step(lab[:4].mean(0)),
        hardest_step(lab[-4:].mean(0)),
    )
