"""Carries a plan out: the picture in its new framing, and what of it is still to be made up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from service.core.values import Size
from service.engine.analysis import Source
from service.engine.arrays import AnyArray, ByteArray, FloatArray, as_float, dilate, gaussian_blur, resize, sample
from service.engine.plan import Plan

_COARSE = 8
_SURE_SUBJECT = 0.45
_LEAST_EXEMPLAR_SIDE = 16
_WINDOW_MARGIN = 0.35


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A picture in its new framing. The arrays may be changed by who holds the scene.

    Attributes:
        exemplar: h x w x 3 in 0..1: the source at the output's scale, mirrored if planned.
        allowed: h x w, 0 where no patch may be taken from.
        target: H x W x 3: the output; by reflection where the source does not reach.
        unknown: H x W, 1 where the source does not reach.
        map_x, map_y: H x W: the exemplar pixel that each output pixel shows.
        salience: The source's at an eighth of the output's resolution, in the new framing.
        subject: The subject's mask, likewise.
    """

    exemplar: FloatArray = field(repr=False)
    allowed: ByteArray = field(repr=False)
    target: FloatArray = field(repr=False)
    unknown: ByteArray = field(repr=False)
    map_x: FloatArray = field(repr=False)
    map_y: FloatArray = field(repr=False)
    salience: FloatArray = field(repr=False)
    subject: ByteArray = field(repr=False)

    def expected_rows(self) -> FloatArray:
        """The exemplar row that belongs at each output pixel, reflected where there is none."""
        last = np.float32(self.exemplar.shape[0] - 1)
        rows = np.where(self.map_y < 0, -self.map_y, self.map_y)
        return np.where(rows > last, 2 * last - rows, rows).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Window:
    """The part of the scaled source that becomes the exemplar, in pixels of the scaled source and of the source."""

    scaled_width: int
    scaled_height: int
    left: float
    top: float
    width: int
    height: int
    source_columns: slice
    source_rows: slice


def reframe(source: Source, size: Size, plan: Plan, generator: np.random.Generator) -> Scene:
    """The source in the framing that the plan asks for, slightly warped where nothing salient is."""
    mirrored = slice(None, None, -1 if plan.flip else 1)
    pixels, salience, mask = source.pixels[:, mirrored], source.salience[:, mirrored], source.subject.mask[:, mirrored]
    scaled_width = max(_LEAST_EXEMPLAR_SIDE, round(source.size.width * plan.zoom))
    scaled_height = max(_LEAST_EXEMPLAR_SIDE, round(source.size.height * plan.zoom))
    u, v = _coarse_map(size, plan, scaled_width, scaled_height)
    x_share, y_share = u / np.float32(scaled_width), v / np.float32(scaled_height)
    # Into the coarse grids of salience and subject, where pixel centres lie at halves.
    salient = _sampled_at(salience, x_share, y_share, cv2.INTER_LINEAR)
    subject = _sampled_at(mask, x_share, y_share, cv2.INTER_NEAREST)
    bend = _warp(size, plan, salient, generator)
    window = _choose_window(source.size, size, u, v, scaled_width, scaled_height)
    map_x = resize(u + bend[..., 0] - np.float32(window.left), size.height, size.width, cv2.INTER_LINEAR)
    map_y = resize(v + bend[..., 1] - np.float32(window.top), size.height, size.width, cv2.INTER_LINEAR)
    exemplar = _scaled(pixels[window.source_rows, window.source_columns], window)
    unknown = (map_x < 1) | (map_y < 1) | (map_x > window.width - 2) | (map_y > window.height - 2)
    target = sample(exemplar, map_x, map_y, cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101)
    np.clip(target, 0, 1, out=target)
    return Scene(
        exemplar=exemplar,
        allowed=_allowed(mask, source.subject.confidence, window),
        target=target,
        unknown=unknown.astype(np.uint8),
        map_x=map_x,
        map_y=map_y,
        salience=salient,
        subject=subject,
    )


def _coarse_map(size: Size, plan: Plan, scaled_width: int, scaled_height: int) -> tuple[FloatArray, FloatArray]:
    """The scaled source's pixel at each point of a grid of an eighth of the output's resolution."""
    rows, columns = max(8, size.height // _COARSE), max(8, size.width // _COARSE)
    y, x = np.meshgrid(
        (np.arange(rows) + 0.5) / rows * size.height - size.height / 2 - plan.shift_y,
        (np.arange(columns) + 0.5) / columns * size.width - size.width / 2 - plan.shift_x,
        indexing="ij",
    )
    cosine, sine = math.cos(plan.turn), math.sin(plan.turn)
    u = x * cosine + y * sine + scaled_width / 2
    v = -x * sine + y * cosine + scaled_height / 2
    return u.astype(np.float32), v.astype(np.float32)


def _sampled_at(grid: AnyArray, x_share: FloatArray, y_share: FloatArray, method: int) -> AnyArray:
    columns = (x_share * grid.shape[1] - 0.5).astype(np.float32)
    rows = (y_share * grid.shape[0] - 0.5).astype(np.float32)
    return sample(grid, columns, rows, method, cv2.BORDER_REPLICATE)


def _warp(size: Size, plan: Plan, salient: FloatArray, generator: np.random.Generator) -> FloatArray:
    """A smooth displacement in pixels, rows x columns x 2; nearly none on what is salient."""
    rows, columns = salient.shape
    bumps = generator.normal(size=(plan.warp_cells + 3, plan.warp_cells + 3, 2)).astype(np.float32)
    smooth = max(1.0, columns / 24)
    rigid = np.clip(gaussian_blur(salient, smooth) * 1.4, 0, 1)
    amplitude = plan.warp * max(size.width, size.height) * (1 - 0.85 * rigid)
    shaped = resize(bumps, rows, columns, cv2.INTER_CUBIC) * amplitude[..., None].astype(np.float32)
    return gaussian_blur(shaped, smooth)


def _choose_window(
    source: Size, size: Size, u: FloatArray, v: FloatArray, scaled_width: int, scaled_height: int
) -> _Window:
    """The part of the scaled source around the frame.

    All of it, in general. But of a picture far wider or taller than the output, only what lies near enough to
    be a likely origin of patches: the rest would cost memory without bound.
    """
    margin = _WINDOW_MARGIN * max(size.width, size.height) + _COARSE
    columns = _source_range(u, margin, scaled_width, source.width)
    rows = _source_range(v, margin, scaled_height, source.height)
    x_scale, y_scale = scaled_width / source.width, scaled_height / source.height
    return _Window(
        scaled_width=scaled_width,
        scaled_height=scaled_height,
        left=columns.start * x_scale,
        top=rows.start * y_scale,
        width=max(_LEAST_EXEMPLAR_SIDE, round((columns.stop - columns.start) * x_scale)),
        height=max(_LEAST_EXEMPLAR_SIDE, round((rows.stop - rows.start) * y_scale)),
        source_columns=columns,
        source_rows=rows,
    )


def _source_range(places: FloatArray, margin: float, scaled: int, source: int) -> slice:
    """The source pixels that cover all ``places`` and the margin around them; at least one."""
    first = min(source - 1, max(0, math.floor((float(places.min()) - margin) * source / scaled)))
    last = min(source, max(first + 1, math.ceil((float(places.max()) + margin) * source / scaled)))
    return slice(first, last)


def _scaled(pixels: ByteArray, window: _Window) -> FloatArray:
    if window.height < pixels.shape[0]:
        # Averaged as bytes: a large source is never held as floats.
        return as_float(resize(pixels, window.height, window.width, cv2.INTER_AREA))
    return resize(as_float(pixels), window.height, window.width, cv2.INTER_CUBIC)


def _allowed(mask: ByteArray, confidence: float, window: _Window) -> ByteArray:
    """1 but on and around a subject that is sure: it must not appear twice."""
    if confidence <= _SURE_SUBJECT:
        return np.ones((window.height, window.width), np.uint8)
    columns = (np.arange(window.width) + 0.5 + window.left) / window.scaled_width * mask.shape[1]
    rows = (np.arange(window.height) + 0.5 + window.top) / window.scaled_height * mask.shape[0]
    forbidden = mask[
        np.minimum(rows.astype(np.int64), mask.shape[0] - 1)[:, None],
        np.minimum(columns.astype(np.int64), mask.shape[1] - 1),
    ]
    margin = max(3, int(0.02 * max(window.width, window.height)) | 1)
    return np.asarray(dilate(np.ascontiguousarray(forbidden), margin) == 0, np.uint8)
