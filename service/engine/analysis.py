"""The analysis of a picture, made once for all of its variations."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from service.core.values import Size
from service.engine.arrays import ByteArray, FloatArray, as_bytes, as_float, luma, resize, resize_to, shrink_to, to_lab
from service.engine.boxes import Box
from service.engine.detect import detect
from service.engine.ground import Ground, find_figure, find_ground
from service.engine.kinds import Kind, surface_kind
from service.engine.saliency import find_subject, saliency
from service.engine.subject import find_matte, forbidden, protected
from service.engine.text_detector import is_text

_MOST_PIXELS = 2048 * 2048
"""The most pixels kept of a source: the largest output shows no more."""

_VIEW_SIDE = 736
"""The detectors see nothing better in a larger picture."""

_CONTRAST_SIDE = 256
_TRANSPARENT = 250
_LEAST_TRANSPARENT = 0.01
_VISIBLE = 8
_PIXEL_ART_SIDE = 128
_PIXEL_ART_COLOURS = 40
_GREY_CHROMA = 2.5


Composed = TypeVar("Composed")


class LastComposed:
    """Holds what was last composed from a source: the images of one request share it.

    Of any type, since the module that composes scenes builds on this one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._size: Size | None = None
        self._composed: Any = None

    def get(self, size: Size, compose: Callable[[], Composed]) -> Composed:
        """The scene for ``size``; composed by one thread, waited for by the others."""
        with self._lock:
            if self._size != size:
                self._composed = compose()
                self._size = size
            composed: Composed = self._composed
            return composed


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A picture and its analysis. Immutable, so any number of threads may vary it at once. Compared by identity.

    Attributes:
        pixels: H x W x 3 bytes, RGB, at most 2048 x 2048 pixels in all. Where it is transparent, any colour.
        alpha: H x W bytes, or None where nothing is transparent.
        kind: Which way of varying suits it.
        ground: The colour of its border.
        faces, texts: In shares of the picture's sides.
        matte: 0..255: how much of each pixel is subject; long side 736 at most, as the two that follow.
        protect: 1 where nothing may be cut.
        forbid: 1 where no patch may be copied from.
        salience: What draws the eye, 0..1, long side 96.
        is_soft: Whether the matte is good enough to treat subject and ground apart.
        is_grey: Whether it has no colours.
        is_pixel_art: Whether its pixels are meant to be seen.
        sees_faces: Whether faces would have been found, had there been any.
        scenes: The last scene made of it.
    """

    pixels: ByteArray = field(repr=False)
    alpha: ByteArray | None = field(repr=False)
    kind: Kind
    ground: Ground
    faces: tuple[Box, ...]
    texts: tuple[Box, ...]
    matte: ByteArray = field(repr=False)
    protect: ByteArray = field(repr=False)
    forbid: ByteArray = field(repr=False)
    salience: FloatArray = field(repr=False)
    is_soft: bool
    is_grey: bool
    is_pixel_art: bool
    sees_faces: bool
    scenes: LastComposed = field(repr=False, default_factory=LastComposed)

    @property
    def size(self) -> Size:
        return Size(width=self.pixels.shape[1], height=self.pixels.shape[0])

    @classmethod
    def analyse(cls, picture: npt.NDArray[Any]) -> Source:
        """Analyses a picture of any size: H x W x 3 (RGB) or x 4 (RGBA), bytes or floats in 0..1; does not keep it.

        Raises:
            ValueError: ``picture`` has another shape or type, or no pixels.
        """
        pixels, alpha = _split(_bounded(_checked(picture)))
        # A picture of one or two pixels has no border, no patches and no letters: look at an enlarged one.
        least = max(1, 24 // min(pixels.shape[:2]) + 1) if min(pixels.shape[:2]) < 24 else 1
        seen = np.ascontiguousarray(np.repeat(np.repeat(pixels, least, 0), least, 1)) if least > 1 else pixels
        view = shrink_to(seen, _VIEW_SIDE)
        view = _at_least(view, 16)
        return _analysed(pixels, alpha, view)


def _analysed(pixels: ByteArray, alpha: ByteArray | None, view: ByteArray) -> Source:
    height, width = view.shape[:2]
    image = as_float(view)
    lab = to_lab(image)
    ground = find_ground(view)
    figure = find_figure(lab, ground)
    view_alpha = None if alpha is None else resize(alpha, height, width, cv2.INTER_AREA)
    findings = detect(view if view_alpha is None else _on_contrasting_ground(view, view_alpha))
    is_grey = float(np.hypot(lab[..., 1], lab[..., 2]).mean()) < _GREY_CHROMA
    pixel_art = _is_pixel_art(pixels)
    kind = surface_kind(
        view,
        image,
        ground,
        figure,
        findings,
        has_alpha=alpha is not None,
        has_letters=is_text(view),
        is_grey=is_grey,
        is_pixel_art=pixel_art,
    )
    small = as_float(shrink_to(view, _CONTRAST_SIDE))
    salience = saliency(small)
    contrasting = find_subject(small, salience)
    thing = resize(contrasting.mask.astype(np.float32), height, width, cv2.INTER_LINEAR)
    matte, is_soft = np.zeros((height, width), np.float32), False
    if kind is Kind.PHOTO:
        found = find_matte(image, findings, thing, contrasting.confidence)
        kind, matte, is_soft = found.kind, found.matte, found.is_sure
    protect = protected(matte, findings)
    return Source(
        pixels=pixels,
        alpha=alpha,
        kind=kind,
        ground=ground,
        faces=tuple(face.scaled(1 / width, 1 / height) for face in findings.faces),
        texts=tuple(text.scaled(1 / width, 1 / height) for text in findings.texts),
        matte=as_bytes(matte),
        protect=protect.astype(np.uint8),
        forbid=forbidden(protect, findings, thing, salience),
        salience=salience,
        is_soft=is_soft,
        is_grey=is_grey,
        is_pixel_art=pixel_art,
        sees_faces=findings.sees_faces,
    )


def _checked(picture: npt.NDArray[Any]) -> ByteArray:
    if picture.ndim != 3 or picture.shape[2] not in (3, 4) or 0 in picture.shape:
        raise ValueError(f"expected an array of shape (height, width, 3 or 4), got {picture.shape}")
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype == np.float32:
        return as_bytes(np.nan_to_num(picture))
    raise ValueError(f"expected uint8 or float32 pixels, got {picture.dtype}")


def _bounded(picture: ByteArray) -> ByteArray:
    """A contiguous copy with at most 2048 x 2048 pixels, so that no photo costs more than that later on."""
    height, width = picture.shape[:2]
    scale = (_MOST_PIXELS / (height * width)) ** 0.5
    if scale >= 1:
        return picture.copy(order="C")
    return resize(picture, max(1, int(height * scale)), max(1, int(width * scale)), cv2.INTER_AREA)


def _split(picture: ByteArray) -> tuple[ByteArray, ByteArray | None]:
    """Colours and alpha; None where hardly anything is transparent.

    What is wholly transparent may have any colour in a file: it is given that of its neighbourhood, so that no edge
    is tinted by it when the picture is scaled.
    """
    if picture.shape[2] == 3:
        return picture, None
    pixels, alpha = np.ascontiguousarray(picture[..., :3]), np.ascontiguousarray(picture[..., 3])
    if (alpha < _TRANSPARENT).mean() < _LEAST_TRANSPARENT:
        return pixels, None
    return spread_colours(pixels, alpha), alpha


def spread_colours(pixels: ByteArray, alpha: ByteArray) -> ByteArray:
    """``pixels`` with the colours of what can be seen carried into what cannot (coarse to fine, by pull and push)."""
    weight = (alpha >= _VISIBLE).astype(np.float32)
    if not weight.any():
        return pixels
    colours = as_float(pixels) * weight[..., None]
    levels = [(colours, weight)]
    while max(levels[-1][1].shape) > 2:
        height, width = (max(1, (side + 1) // 2) for side in levels[-1][1].shape)
        levels.append(
            (resize(levels[-1][0], height, width, cv2.INTER_AREA), resize(levels[-1][1], height, width, cv2.INTER_AREA))
        )
    filled = levels[-1][0] / np.maximum(levels[-1][1], 1e-6)[..., None]
    for colours, weight in reversed(levels[:-1]):
        coarse = resize_to(filled, weight.shape, cv2.INTER_LINEAR)
        sure = np.minimum(weight, 1)[..., None]
        filled = colours / np.maximum(weight, 1e-6)[..., None] * sure + coarse * (1 - sure)
    return np.where((alpha >= _VISIBLE)[..., None], pixels, as_bytes(filled))


def _at_least(view: ByteArray, side: int) -> ByteArray:
    """``view`` with no side shorter than ``side`` (a strip of a few pixels has no structure to look at)."""
    height, width = view.shape[:2]
    if min(height, width) >= side:
        return view
    return resize(view, max(side, height), max(side, width), cv2.INTER_LINEAR)


def _on_contrasting_ground(view: ByteArray, alpha: ByteArray) -> ByteArray:
    """Light figures on grey, others on white: text must be seen against something."""
    visible = alpha > 128
    light = luma(as_float(view)) > 0.85
    level = 110 if visible.any() and float(light[visible].mean()) > 0.1 else 255
    share = alpha[..., None].astype(np.float32) / 255
    return (view * share + level * (1 - share)).astype(np.uint8)


def _is_pixel_art(pixels: ByteArray) -> bool:
    if max(pixels.shape[:2]) > _PIXEL_ART_SIDE:
        return False
    return len(np.unique(pixels.reshape(-1, 3), axis=0)) < _PIXEL_ART_COLOURS
