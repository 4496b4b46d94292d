"""The inner loops as compiled code. See the protocol in ``kernels`` for what each computes.

All run without the GIL: other threads, the event loop's among them, go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

from service.engine import compilation
from service.engine.arrays import ByteArray, FloatArray, IndexArray
from service.engine.patch_constants import MEAN_SHIFT_COST, MEAN_SHIFT_LIMIT, MINIMUM_COST, PATCH

compilation.tell_numba()

Function = TypeVar("Function", bound=Callable[..., Any])

# Release 1 of patch_constants: to be counted up with every change there, see its docstring.
STRIDE_WHEN_FINE = 1

_LIMIT = np.float32(MEAN_SHIFT_LIMIT)
_SHIFT_COST = np.float32(1 + MEAN_SHIFT_COST)
_TWO = np.float32(2)
_AREA = np.float32(PATCH * PATCH)
_FLOOR = np.float32(MINIMUM_COST)
_HUGE = np.float32(3e38)


def _compiled(function: Function) -> Function:
    """``function`` compiled on its first call, and kept on disk for the next process where that is possible."""
    try:
        return cast(Function, njit(cache=True, nogil=True, fastmath=True)(function))
    except RuntimeError:  # no directory to keep it in can be written to
        return cast(Function, njit(nogil=True, fastmath=True)(function))


def _inlined(function: Function) -> Function:
    """``function`` for use by compiled code only, as part of which it is compiled and kept."""
    return cast(Function, njit(inline="always", fastmath=True)(function))


@_inlined
def _hash(a: int, b: int, c: int) -> int:
    """32 well mixed bits from three integers: randomness that depends on the place, not on the order of work.

    The masks matter: numba computes in 64 bits.
    """
    bits = (a * 0x9E3779B1 ^ b * 0x85EBCA77 ^ c * 0xC2B2AE3D) & 0xFFFFFFFF
    bits ^= bits >> 15
    bits = (bits * 0x2C1B3C6D) & 0xFFFFFFFF
    bits ^= bits >> 12
    bits = (bits * 0x297A2D39) & 0xFFFFFFFF
    return bits ^ (bits >> 15)


@_inlined
def _cost(
    query: FloatArray,
    exemplar: FloatArray,
    query_mean: FloatArray,
    exemplar_mean: FloatArray,
    y: int,
    x: int,
    row: int,
    column: int,
    penalty: Any,
    bound: Any,
) -> Any:
    """The cost of one pair of patches, ``penalty`` included; a huge number once it is known to reach ``bound``."""
    if penalty >= bound:
        return _HUGE
    adjustment = penalty
    for channel in range(3):
        difference = query_mean[y, x, channel] - exemplar_mean[row, column, channel]
        shift = min(max(difference, -_LIMIT), _LIMIT)
        # sum((e - shift)^2) = sum(e^2) - 2 shift sum(e) + area shift^2, and sum(e) = area * difference.
        adjustment += _AREA * (shift * shift * _SHIFT_COST - _TWO * shift * difference)
    bound_on_squares = bound - adjustment
    squares = np.float32(0)
    for i in range(PATCH):
        for j in range(PATCH):
            for channel in range(3):
                error = query[y + i, x + j, channel] - exemplar[row + i, column + j, channel]
                squares += error * error
        if squares >= bound_on_squares:
            return _HUGE
    return squares + adjustment


@_inlined
def _from_neighbours(
    query: FloatArray,
    exemplar: FloatArray,
    query_mean: FloatArray,
    exemplar_mean: FloatArray,
    active: ByteArray,
    allowed: ByteArray,
    rows: IndexArray,
    columns: IndexArray,
    y: int,
    x: int,
    step: int,
    expected: Any,
    weight: Any,
    best_row: int,
    best_column: int,
    best: Any,
) -> tuple[int, int, Any]:
    """The best of a match and what stands for the two neighbours that this sweep has passed, moved along."""
    for axis in range(2):
        dy, dx = (step, 0) if axis == 1 else (0, step)
        y2, x2 = y + dy, x + dx
        if y2 < 0 or y2 >= rows.shape[0] or x2 < 0 or x2 >= rows.shape[1] or not active[y2, x2]:
            continue
        row, column = rows[y2, x2] - dy, columns[y2, x2] - dx
        if row < 0 or column < 0 or row >= allowed.shape[0] or column >= allowed.shape[1]:
            continue
        if allowed[row, column] and not (row == best_row and column == best_column):
            penalty = weight * (row - expected) ** 2
            cost = _cost(query, exemplar, query_mean, exemplar_mean, y, x, row, column, penalty, best)
            if cost < best:
                best_row, best_column, best = row, column, cost
    return best_row, best_column, best


@_inlined
def _from_chance(
    query: FloatArray,
    exemplar: FloatArray,
    query_mean: FloatArray,
    exemplar_mean: FloatArray,
    allowed: ByteArray,
    y: int,
    x: int,
    salt: int,
    radius: int,
    expected: Any,
    weight: Any,
    best_row: int,
    best_column: int,
    best: Any,
) -> tuple[int, int, Any]:
    """The best of a match and random places around it, nearer and nearer."""
    reach = radius
    while reach >= 1:
        bits = _hash(salt, y, x)
        salt += 1
        span = 2 * reach + 1
        row = min(max(best_row - reach + ((bits & 0xFFFF) * span >> 16), 0), allowed.shape[0] - 1)
        column = min(max(best_column - reach + ((bits >> 16) * span >> 16), 0), allowed.shape[1] - 1)
        reach >>= 1
        if allowed[row, column]:
            penalty = weight * (row - expected) ** 2
            cost = _cost(query, exemplar, query_mean, exemplar_mean, y, x, row, column, penalty, best)
            if cost < best:
                best_row, best_column, best = row, column, cost
    return best_row, best_column, best


@_compiled
def search(
    query: FloatArray,
    exemplar: FloatArray,
    query_mean: FloatArray,
    exemplar_mean: FloatArray,
    active: ByteArray,
    allowed: ByteArray,
    rows: IndexArray,
    columns: IndexArray,
    costs: FloatArray,
    expected_rows: FloatArray,
    seed: int,
    first_sweep: int,
    sweeps: int,
    radius: int,
    row_weight: float,
    stride: int,
) -> None:
    height, width = rows.shape
    weight = np.float32(row_weight)
    for y in range(height):
        for x in range(width):
            if active[y, x]:
                row, column = rows[y, x], columns[y, x]
                penalty = weight * (row - expected_rows[y, x]) ** 2
                costs[y, x] = _cost(query, exemplar, query_mean, exemplar_mean, y, x, row, column, penalty, _HUGE)
    for sweep in range(first_sweep, first_sweep + sweeps):
        forward = (sweep & 1) == 0
        step = -stride if forward else stride
        salt = seed * 7919 + sweep * 131
        for yy in range(height):
            y = yy if forward else height - 1 - yy
            for xx in range(width):
                x = xx if forward else width - 1 - xx
                if not active[y, x]:
                    continue
                row, column, cost, expected = rows[y, x], columns[y, x], costs[y, x], expected_rows[y, x]
                row, column, cost = _from_neighbours(
                    query, exemplar, query_mean, exemplar_mean, active, allowed, rows, columns,
                    y, x, step, expected, weight, row, column, cost,
                )  # fmt: skip
                rows[y, x], columns[y, x], costs[y, x] = _from_chance(
                    query, exemplar, query_mean, exemplar_mean, allowed,
                    y, x, salt, radius, expected, weight, row, column, cost,
                )  # fmt: skip


@_compiled
def vote(
    query: FloatArray,
    exemplar: FloatArray,
    query_mean: FloatArray,
    exemplar_mean: FloatArray,
    active: ByteArray,
    unknown: ByteArray,
    confidence: FloatArray,
    rows: IndexArray,
    columns: IndexArray,
    costs: FloatArray,
    window: FloatArray,
    sharpen: bool,
) -> None:
    sums = np.zeros(query.shape, np.float32)
    weights = np.zeros(unknown.shape, np.float32)
    for y in range(rows.shape[0]):
        for x in range(rows.shape[1]):
            if active[y, x]:
                patch_weight = confidence[y + PATCH // 2, x + PATCH // 2] / (_FLOOR + costs[y, x])
                if sharpen:
                    patch_weight = patch_weight / (_FLOOR + costs[y, x])
                _cast_vote(
                    exemplar, query_mean, exemplar_mean, unknown, window, sums, weights,
                    y, x, rows[y, x], columns[y, x], patch_weight,
                )  # fmt: skip
    for y in range(unknown.shape[0]):
        for x in range(unknown.shape[1]):
            if unknown[y, x] and weights[y, x] > 0:
                for channel in range(3):
                    query[y, x, channel] = sums[y, x, channel] / weights[y, x]


@_inlined
def _cast_vote(
    exemplar: FloatArray,
    query_mean: FloatArray,
    exemplar_mean: FloatArray,
    unknown: ByteArray,
    window: FloatArray,
    sums: FloatArray,
    weights: FloatArray,
    y: int,
    x: int,
    row: int,
    column: int,
    patch_weight: Any,
) -> None:
    """Adds the pixels of one matched patch, shifted towards the query's mean, to the sums they count in."""
    red = min(max(query_mean[y, x, 0] - exemplar_mean[row, column, 0], -_LIMIT), _LIMIT)
    green = min(max(query_mean[y, x, 1] - exemplar_mean[row, column, 1], -_LIMIT), _LIMIT)
    blue = min(max(query_mean[y, x, 2] - exemplar_mean[row, column, 2], -_LIMIT), _LIMIT)
    for i in range(PATCH):
        for j in range(PATCH):
            if unknown[y + i, x + j]:
                weight = patch_weight * window[i, j]
                weights[y + i, x + j] += weight
                sums[y + i, x + j, 0] += weight * (exemplar[row + i, column + j, 0] + red)
                sums[y + i, x + j, 1] += weight * (exemplar[row + i, column + j, 1] + green)
                sums[y + i, x + j, 2] += weight * (exemplar[row + i, column + j, 2] + blue)


@_compiled
def minimum_barrier(image: FloatArray, passes: int) -> FloatArray:
    height, width, channels = image.shape
    result = np.zeros((height, width), np.float32)
    for channel in range(channels):
        barrier = np.full((height, width), np.float32(1e9))
        highest = image[:, :, channel].copy()
        lowest = image[:, :, channel].copy()
        for y in range(height):
            for x in range(width):
                if y < 2 or y >= height - 2 or x < 2 or x >= width - 2:
                    barrier[y, x] = 0
        for sweep in range(passes):
            forward = (sweep & 1) == 0
            step = -1 if forward else 1
            for yy in range(height):
                y = yy if forward else height - 1 - yy
                for xx in range(width):
                    x = xx if forward else width - 1 - xx
                    value = image[y, x, channel]
                    for axis in range(2):
                        y2, x2 = (y + step, x) if axis == 0 else (y, x + step)
                        if y2 < 0 or x2 < 0 or y2 >= height or x2 >= width:
                            continue
                        high = max(highest[y2, x2], value)
                        low = min(lowest[y2, x2], value)
                        if high - low < barrier[y, x]:
                            barrier[y, x], highest[y, x], lowest[y, x] = high - low, high, low
        result += barrier
    return result
