"""The picture in the shape that is asked for, before it is varied.

Where the shape differs from the source's, a photograph is cropped by content, or extended where a crop would cut what
matters; figures get more of their ground; transparent pictures more transparency.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import cv2
import numpy as np

from service.core.values import Size
from service.engine.analysis import Source
from service.engine.arrays import AnyArray, ByteArray, FloatArray, as_float, resize, resize_to, to_lab, unit
from service.engine.boxes import Box, Matrix, box_mask, moved
from service.engine.compose import Placing, place_source
from service.engine.ground import Ground, find_figure, find_ground
from service.engine.kinds import FIGURES, PHOTOGRAPHS, Kind
from service.engine.networks.enlarge import enlarge

_MOST_DETAIL = 1.5
_BADLY_ENLARGED = 1.6
_LEAST_KEPT_SALIENCE_SIDE = 8


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """A boolean for each side."""

    left: bool
    right: bool
    top: bool
    bottom: bool

    def __iter__(self) -> Iterator[bool]:
        return iter((self.left, self.right, self.top, self.bottom))

    def any(self) -> bool:
        return any(self)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A picture of the output's size, and what is known about it. Only read. Masks have the output's size too.

    Attributes:
        image: H x W x 3 in 0..1.
        detail: The same with up to 1.5 times the resolution, in bytes, for frames that come closer.
        alpha: H x W in 0..1, or None.
        matte: How much of each pixel is subject.
        protect: 1 where nothing may be cut.
        forbid: 1 where no patch may be copied from.
        figure: 1 where the picture differs from its ground.
        salience: 0..1, long side 96 at most.
        faces, texts: In pixels.
        pinned: Sides that must not be uncovered: the subject or text reaches them.
        cut: Sides that cut the subject already.
        difficulty: How hard each side is to extend, 0..1: left, right, top, bottom.
        page: Of a document, what it covers.
        is_careful: Whether there may be people that nobody has looked for: the networks are missing.
    """

    kind: Kind
    image: FloatArray = field(repr=False)
    detail: ByteArray = field(repr=False)
    alpha: FloatArray | None = field(repr=False)
    matte: FloatArray = field(repr=False)
    protect: FloatArray = field(repr=False)
    forbid: ByteArray = field(repr=False)
    figure: ByteArray = field(repr=False)
    salience: FloatArray = field(repr=False)
    ground: Ground
    faces: tuple[Box, ...]
    texts: tuple[Box, ...]
    pinned: Sides
    cut: Sides
    difficulty: tuple[float, float, float, float]
    page: Box
    is_soft: bool
    is_grey: bool
    is_pixel_art: bool
    is_careful: bool

    @property
    def height(self) -> int:
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        return int(self.image.shape[1])

    @property
    def longest(self) -> int:
        return max(self.height, self.width)

    @property
    def has_subject(self) -> bool:
        return bool(self.protect.any())

    def mirrored(self) -> Scene:
        """The scene the other way round."""

        def turned(box: Box) -> Box:
            return Box(self.width - box.right, box.top, box.width, box.height)

        left, right, top, bottom = self.difficulty
        return dataclasses.replace(
            self,
            image=_flipped(self.image),
            detail=_flipped(self.detail),
            matte=_flipped(self.matte),
            protect=_flipped(self.protect),
            forbid=_flipped(self.forbid),
            figure=_flipped(self.figure),
            salience=_flipped(self.salience),
            alpha=None if self.alpha is None else _flipped(self.alpha),
            faces=tuple(turned(box) for box in self.faces),
            texts=tuple(turned(box) for box in self.texts),
            pinned=Sides(self.pinned.right, self.pinned.left, self.pinned.top, self.pinned.bottom),
            cut=Sides(self.cut.right, self.cut.left, self.cut.top, self.cut.bottom),
            difficulty=(right, left, top, bottom),
            page=turned(self.page),
        )


def _flipped(array: AnyArray) -> AnyArray:
    return cast(AnyArray, np.ascontiguousarray(array[:, ::-1]))


def scene_of(source: Source, size: Size, checkpoint: Callable[[], None]) -> Scene:
    """The source at ``size``; the same scene for all images of a request."""
    return source.scenes.get(size, lambda: _compose(source, size, checkpoint))


def _compose(source: Source, size: Size, checkpoint: Callable[[], None]) -> Scene:
    placing = place_source(source, size)
    checkpoint()
    pixels, alpha = _enlarged(source, placing.scale)
    image, detail = _render(source, pixels, placing, size)
    checkpoint()
    if placing.uncovered and source.kind in PHOTOGRAPHS:
        from service.engine.extend import extend

        image = extend(source, placing, size, image, checkpoint)
        detail = (image * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    whole = Box(0, 0, source.size.width, source.size.height)
    height, width = size.height, size.width

    def carried(mask: ByteArray, method: int) -> FloatArray:
        """A mask of the source's view in the scene."""
        scaled = placing.matrix @ np.diag([source.size.width / mask.shape[1], source.size.height / mask.shape[0], 1.0])
        return np.asarray(
            cv2.warpAffine(mask.astype(np.float32), scaled[:2].astype(np.float32), (width, height), flags=method),
            np.float32,
        )

    def boxes(shares: tuple[Box, ...]) -> tuple[Box, ...]:
        return moved([box.scaled(source.size.width, source.size.height) for box in shares], placing.matrix)

    texts = tuple(box for box in boxes(source.texts) if _is_inside(box, size))
    faces = tuple(box for box in boxes(source.faces) if _is_inside(box, size))
    protect = (carried(source.protect, cv2.INTER_NEAREST) > 0.5).astype(np.float32)
    subject = np.maximum(protect - box_mask(protect.shape, texts), 0)
    cut = _reached(subject, 0.04)
    ground = find_ground((image * 255).astype(np.uint8)) if source.alpha is None else source.ground
    scaled_alpha = None
    if alpha is not None:
        scaled_alpha = np.clip(_warped(as_float(alpha), placing.matrix, source, alpha.shape, size, None), 0, 1)
    return Scene(
        kind=source.kind,
        image=image,
        detail=detail,
        alpha=scaled_alpha,
        matte=unit(carried(source.matte, cv2.INTER_LINEAR) / 255),
        protect=protect,
        forbid=(carried(source.forbid, cv2.INTER_NEAREST) > 0.5).astype(np.uint8),
        figure=find_figure(to_lab(image), ground),
        salience=_carried_salience(source, placing, size),
        ground=ground,
        faces=faces,
        texts=texts,
        pinned=_pinned(cut, texts, size),
        cut=cut,
        difficulty=_side_difficulty(image),
        page=moved([whole], placing.matrix)[0],
        is_soft=source.is_soft,
        is_grey=source.is_grey,
        is_pixel_art=source.is_pixel_art,
        is_careful=not source.sees_faces,
    )


def _enlarged(source: Source, scale: float) -> tuple[ByteArray, ByteArray | None]:
    """Pixels and alpha of the source, four times as large where it would otherwise be enlarged by interpolation."""
    if scale < _BADLY_ENLARGED or source.is_pixel_art:
        return source.pixels, source.alpha
    large = enlarge(source.pixels)
    if large is None:
        return source.pixels, source.alpha
    return large, None if source.alpha is None else resize_to(source.alpha, large.shape[:2], cv2.INTER_CUBIC)


def _render(source: Source, pixels: ByteArray, placing: Placing, size: Size) -> tuple[FloatArray, ByteArray]:
    """The placed source at the output's size, and with up to 1.5 times the resolution where the source has it."""
    border = None if source.kind in PHOTOGRAPHS or source.alpha is not None else source.ground.rgb
    available = pixels.shape[1] / source.size.width / placing.scale
    factor = float(np.clip(available, 1.0, _MOST_DETAIL))
    large = Size(round(size.width * factor), round(size.height * factor))
    stretch = np.diag([large.width / size.width, large.height / size.height, 1.0])
    picture = _warped(as_float(pixels), stretch @ placing.matrix, source, pixels.shape, large, border)
    detail = (np.clip(picture, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    return as_float(resize(detail, size.height, size.width)), detail


def _warped(
    picture: FloatArray,
    matrix: Matrix,
    source: Source,
    shape: tuple[int, ...],
    size: Size,
    border: FloatArray | None,
) -> FloatArray:
    """``picture`` (the source at any resolution) moved by ``matrix``, which maps the source's own pixels."""
    mapping = matrix @ np.diag([source.size.width / shape[1], source.size.height / shape[0], 1.0])
    scale = math.sqrt(abs(float(np.linalg.det(mapping[:2, :2]))))
    if scale < 1:  # average first: a warp alone would skip pixels
        rows, columns = max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
        picture = resize(picture, rows, columns, cv2.INTER_AREA)
        mapping = mapping @ np.diag([shape[1] / columns, shape[0] / rows, 1.0])
    method = cv2.INTER_LANCZOS4 if scale > 1 else cv2.INTER_CUBIC
    if source.is_pixel_art:
        method = cv2.INTER_NEAREST
    elif source.kind in FIGURES and scale > 1:
        method = cv2.INTER_CUBIC
    # OpenCV's warp addresses pixel centres by whole numbers, ours lie at halves.
    centred = (
        np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]]) @ mapping @ np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    )
    mode = cv2.BORDER_CONSTANT if border is not None or picture.ndim == 2 else cv2.BORDER_REFLECT_101
    values = (0.0,) * 4 if border is None else (*(float(value) for value in border), 0.0)
    moved_picture = cv2.warpAffine(
        np.ascontiguousarray(picture),
        centred[:2].astype(np.float32),
        (size.width, size.height),
        flags=method,
        borderMode=mode,
        borderValue=values,
    )
    return np.clip(moved_picture, 0, 1)


def _carried_salience(source: Source, placing: Placing, size: Size) -> FloatArray:
    """The salience in the scene; what is protected counts fully, the rest half."""
    scale = 96 / max(size.width, size.height)
    columns = max(_LEAST_KEPT_SALIENCE_SIDE, round(size.width * scale))
    rows = max(_LEAST_KEPT_SALIENCE_SIDE, round(size.height * scale))

    def carried(grid: FloatArray) -> FloatArray:
        shrunk = np.diag([columns / size.width, rows / size.height, 1.0])
        grown = np.diag([source.size.width / grid.shape[1], source.size.height / grid.shape[0], 1.0])
        matrix = (shrunk @ placing.matrix @ grown)[:2].astype(np.float32)
        return np.asarray(cv2.warpAffine(grid, matrix, (columns, rows), flags=cv2.INTER_LINEAR), np.float32)

    salience = carried(source.salience)
    if not source.protect.any():
        return np.clip(salience, 0, 1)
    coarse = resize_to(source.protect.astype(np.float32), source.salience.shape, cv2.INTER_AREA)
    return unit(np.maximum(salience * 0.5, carried(coarse)))


def _is_inside(box: Box, size: Size) -> bool:
    inside = Box(0, 0, size.width, size.height)
    width = min(box.right, inside.right) - max(box.left, 0)
    height = min(box.bottom, inside.bottom) - max(box.top, 0)
    return width > 0.8 * box.width and height > 0.8 * box.height


def _reached(mask: FloatArray, least: float) -> Sides:
    """The sides along which ``mask`` covers more than ``least`` of the outermost 1.5 %."""
    height, width = mask.shape
    right, down = max(2, int(0.015 * width)), max(2, int(0.015 * height))
    strips = (mask[:, :right], mask[:, -right:], mask[:down], mask[-down:])
    return Sides(*(bool(strip.mean() > least) for strip in strips))


def _pinned(cut: Sides, texts: tuple[Box, ...], size: Size) -> Sides:
    """Sides that the subject is cut by, or that text is near to."""
    near = [
        (
            box.left < 0.05 * size.width,
            box.right > 0.95 * size.width,
            box.top < 0.09 * size.height,
            box.bottom > 0.93 * size.height,
        )
        for box in texts
    ]
    return Sides(*(side or any(each[number] for each in near) for number, side in enumerate(cut)))


def _side_difficulty(image: FloatArray) -> tuple[float, float, float, float]:
    """The sharpest step along each border strip: an object that the frame cuts is hard to continue."""
    lab = to_lab(resize(image, 48, 48, cv2.INTER_AREA))

    def hardest_step(profile: FloatArray) -> float:
        return float(np.clip(np.abs(np.diff(profile, axis=0)).max() / 35, 0, 1))

    return (
        hardest_step(lab[:, :4].mean(1)),
        hardest_step(lab[:, -4:].mean(1)),
        hardest_step(lab[:4].mean(0)),
        hardest_step(lab[-4:].mean(0)),
    )
