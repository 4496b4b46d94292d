"""Completes an image by patches of another one, coarse to fine.

The family of Wexler et al. ("Space-Time Completion of Video", PAMI 2007), with PatchMatch as the search, an
adaptive patch mean, and matches that expect to keep their height in the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import cv2
import numpy as np

from service.engine.arrays import ByteArray, FloatArray, IndexArray, resize
from service.engine.kernels import kernels
from service.engine.patch_constants import PATCH
from service.engine.pyramid import Level, build_pyramid

_ROW_PRIOR = 0.01
_CONFIDENCE_BASE = np.float32(1.25)
_UNIFORM = 1e3  # a window this wide weighs all pixels of a patch alike


@dataclass(frozen=True, slots=True, eq=False)
class Hole:
    """The area to fill, and the picture to fill it from. The arrays are only read.

    Attributes:
        target: H x W x 3, RGB in 0..1; a first guess where unknown.
        unknown: H x W, 1 where ``target`` is to be made up.
        exemplar: h x w x 3 at the same scale: where patches come from.
        allowed: h x w, 0 where no patch may come from.
        expected_rows: H x W: the exemplar row whose content would suit each pixel.
    """

    target: FloatArray = field(repr=False)
    unknown: ByteArray = field(repr=False)
    exemplar: FloatArray = field(repr=False)
    allowed: ByteArray = field(repr=False)
    expected_rows: FloatArray = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Effort:
    """The effort at one level: iterations, search sweeps in each, and the window (Gaussian sigma) of the last vote."""

    iterations: int
    sweeps: int
    radius: int
    last_window: float
    sharpen: bool


def fill(hole: Hole, seed: int, checkpoint: Callable[[], None]) -> FloatArray:
    """The target with its unknown pixels made up; a new array. The same arguments give the same bytes.

    ``checkpoint`` is called between steps, and may raise to give up.
    """
    if not hole.unknown.any():
        return hole.target.copy()
    generator = np.random.default_rng(seed)
    image: FloatArray | None = None
    matches: tuple[IndexArray, IndexArray] | None = None
    coarser: Level | None = None
    for number, level in enumerate(build_pyramid(hole.target, hole.unknown, hole.exemplar, hole.allowed)):
        checkpoint()
        unknown = (level.unknown > 0.25).astype(np.uint8)
        allowed = _permitted_patches(level.allowed)
        image = _begin(level.target, unknown, image)
        active = _patches_touching(unknown)
        matches = _begin_matches(matches, active.shape, allowed.shape, level, coarser, generator)
        _replace_forbidden(matches, allowed, active, generator)
        _settle(image, matches, level, unknown, active, allowed, hole.expected_rows, seed, number, checkpoint)
        coarser = level
    assert image is not None  # a pyramid has at least one level
    return image


def _settle(
    image: FloatArray,
    matches: tuple[IndexArray, IndexArray],
    level: Level,
    unknown: ByteArray,
    active: ByteArray,
    allowed: ByteArray,
    expected_rows: FloatArray,
    seed: int,
    number: int,
    checkpoint: Callable[[], None],
) -> None:
    """Alternates between matching patches and voting, in place, as often as the level deserves."""
    height, width = unknown.shape
    rows, columns = matches
    costs = np.empty(active.shape, np.float32)
    expected = resize(expected_rows, height, width, cv2.INTER_NEAREST) * np.float32(level.scale)
    expected = np.ascontiguousarray(expected[: active.shape[0], : active.shape[1]])
    exemplar_mean = _patch_means(level.exemplar)
    confidence = _confidence(unknown, level.fine)
    row_weight = _ROW_PRIOR * PATCH * PATCH * 3 / (0.25 * height) ** 2
    effort = _effort(level, max(allowed.shape))
    stride = kernels.STRIDE_WHEN_FINE if level.fine and max(height, width) > 600 else 1
    if stride > 1:
        active = _thinned(active, stride)
    for iteration in range(effort.iterations):
        checkpoint()
        last = iteration == effort.iterations - 1
        means = _patch_means(image)
        kernels.search(
            image, level.exemplar, means, exemplar_mean, active, allowed, rows, columns, costs, expected,
            seed, iteration * effort.sweeps + 100 * number, effort.sweeps, effort.radius, row_weight, stride,
        )  # fmt: skip
        checkpoint()
        kernels.vote(
            image, level.exemplar, means, exemplar_mean, active, unknown, confidence, rows, columns, costs,
            _window(effort.last_window if last else _UNIFORM), last and effort.sharpen,
        )  # fmt: skip


def _effort(level: Level, exemplar_side: int) -> _Effort:
    side = max(level.target.shape[:2])
    if level.fine:
        return _Effort(iterations=1, sweeps=1, radius=2, last_window=1.2, sharpen=True)
    if side < 64:
        return _Effort(iterations=5, sweeps=2, radius=exemplar_side, last_window=_UNIFORM, sharpen=False)
    if side < 140:
        return _Effort(iterations=3, sweeps=2, radius=exemplar_side, last_window=_UNIFORM, sharpen=False)
    return _Effort(iterations=2, sweeps=2, radius=max(8, exemplar_side // 6), last_window=1.6, sharpen=True)


def _begin(target: FloatArray, unknown: ByteArray, coarser_image: FloatArray | None) -> FloatArray:
    """A copy of the target, its unknown part taken from the coarser level's result where there is one."""
    image = np.ascontiguousarray(target.copy())
    if coarser_image is not None:
        enlarged = resize(coarser_image, *unknown.shape)
        np.copyto(image, enlarged, where=(unknown > 0)[..., None])
    return image


def _begin_matches(
    matches: tuple[IndexArray, IndexArray] | None,
    shape: tuple[int, ...],
    exemplar_shape: tuple[int, ...],
    level: Level,
    coarser: Level | None,
    generator: np.random.Generator,
) -> tuple[IndexArray, IndexArray]:
    """At first by chance, then from the coarser level: its offsets scaled up, so that neighbours stay neighbours."""
    if matches is None or coarser is None:
        return (
            generator.integers(0, exemplar_shape[0], shape).astype(np.int32),
            generator.integers(0, exemplar_shape[1], shape).astype(np.int32),
        )
    enlarged = []
    for axis in (0, 1):
        offsets = (matches[axis] - _along(axis, matches[axis].shape[axis])).astype(np.float32)
        places = resize(offsets, shape[0], shape[1], cv2.INTER_NEAREST)
        places *= np.float32(level.exemplar.shape[axis] / coarser.exemplar.shape[axis])
        np.rint(places, out=places)
        places += _along(axis, shape[axis])
        np.clip(places, 0, exemplar_shape[axis] - 1, out=places)
        enlarged.append(places.astype(np.int32))
    return enlarged[0], enlarged[1]


def _along(axis: int, length: int) -> IndexArray:
    positions = np.arange(length, dtype=np.int32)
    return positions[:, None] if axis == 0 else positions[None, :]


def _replace_forbidden(
    matches: tuple[IndexArray, IndexArray], allowed: ByteArray, active: ByteArray, generator: np.random.Generator
) -> None:
    if allowed.all():
        return
    rows, columns = matches
    forbidden = (active > 0) & (allowed[rows, columns] == 0)
    if forbidden.any():
        permitted = np.flatnonzero(allowed)
        chosen = permitted[generator.integers(0, len(permitted), int(forbidden.sum()))]
        rows[forbidden] = chosen // allowed.shape[1]
        columns[forbidden] = chosen % allowed.shape[1]


def _permitted_patches(allowed: FloatArray) -> ByteArray:
    """1 per patch without a forbidden pixel; 1 for all when hardly any would be left."""
    patches = (1 - _patches_touching((allowed <= 0.9).astype(np.uint8))).astype(np.uint8)
    return patches if patches.mean() >= 0.05 else np.ones_like(patches)


def _patches_touching(mask: ByteArray) -> ByteArray:
    """1 for every patch, by its top left pixel, that overlaps the mask."""
    grown = cast(ByteArray, cv2.dilate(mask, np.ones((PATCH, PATCH), np.uint8), anchor=(0, 0)))
    return np.ascontiguousarray(grown[: mask.shape[0] - PATCH + 1, : mask.shape[1] - PATCH + 1])


def _thinned(active: ByteArray, stride: int) -> ByteArray:
    """Every ``stride``-th patch, and the last of each row and column, so that no pixel goes without a patch."""
    lattice = np.zeros_like(active)
    for row in (slice(0, None, stride), slice(-1, None)):
        for column in (slice(0, None, stride), slice(-1, None)):
            lattice[row, column] = 1
    return active & lattice


def _patch_means(image: FloatArray) -> FloatArray:
    means = cv2.boxFilter(image, -1, (PATCH, PATCH), anchor=(0, 0), borderType=cv2.BORDER_REFLECT)
    kept = means[: image.shape[0] - PATCH + 1, : image.shape[1] - PATCH + 1]
    return cast(FloatArray, np.ascontiguousarray(kept))


def _confidence(unknown: ByteArray, fine: bool) -> FloatArray:
    """The confidence in each pixel: it falls with the distance to known pixels."""
    if unknown.all():
        distance = np.full(unknown.shape, 3, np.float32)
    else:
        distance = cast(FloatArray, cv2.distanceTransform(unknown, cv2.DIST_L2, 3))
    steps = np.minimum(distance * np.float32(0.5 if fine else 1.0), 24)
    return np.asarray(np.power(_CONFIDENCE_BASE, -steps), np.float32) + np.float32(1e-4)


def _window(sigma: float) -> FloatArray:
    place = np.arange(PATCH) - PATCH // 2
    return np.exp(-(place[:, None] ** 2 + place[None] ** 2) / (2 * sigma * sigma)).astype(np.float32)
