"""The inner loops without a compiler: two to three times slower, a little rougher.

Costs are estimated from 17 of the 49 pixels of a patch, all patches look at their neighbours at once (Jacobi
rather than Gauss-Seidel), and fine levels search every second patch. See the protocol in ``kernels``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.engine.arrays import ByteArray, FloatArray, IndexArray
from service.engine.patch_constants import MEAN_SHIFT_COST, MEAN_SHIFT_LIMIT, MINIMUM_COST, PATCH

STRIDE_WHEN_FINE = 2

# Spread evenly, no two in a line: (row, column) within the patch.
_SAMPLES = (
    *((0, 0), (0, 3), (0, 6), (1, 1), (1, 5), (2, 3), (3, 0), (3, 2), (3, 3)),
    *((3, 4), (3, 6), (4, 3), (5, 1), (5, 5), (6, 0), (6, 3), (6, 6)),
)
_DIRECTIONS = ((0, -1), (-1, 0), (0, 1), (1, 0))
_FINE_RADIUS = 2  # the radius at which the driver only wants matches refined

Positions = npt.NDArray[np.int64]


class _Matcher:
    """The best match so far of every active patch, and what it takes to try another one."""

    def __init__(
        self,
        query: FloatArray,
        exemplar: FloatArray,
        query_mean: FloatArray,
        exemplar_mean: FloatArray,
        active: ByteArray,
        allowed: ByteArray,
        rows: IndexArray,
        columns: IndexArray,
        expected_rows: FloatArray,
        row_weight: float,
    ) -> None:
        self.y, self.x = np.nonzero(active)
        self._exemplar = np.ascontiguousarray(exemplar).reshape(-1, 3)
        self._pitch = exemplar.shape[1]
        self._offsets = [i * self._pitch + j for i, j in _SAMPLES]
        flat_query = np.ascontiguousarray(query).reshape(-1, 3)
        corner = self.y * query.shape[1] + self.x
        self._wanted = [flat_query[corner + i * query.shape[1] + j] for i, j in _SAMPLES]
        self._wanted_mean = query_mean[self.y, self.x]
        self._exemplar_mean = exemplar_mean.reshape(-1, 3)
        self._allowed = allowed.ravel().astype(bool)
        self._shape = allowed.shape
        self._expected = expected_rows[self.y, self.x]
        self._row_weight = np.float32(row_weight)
        self.row = rows[self.y, self.x].astype(np.int64)
        self.column = columns[self.y, self.x].astype(np.int64)
        self.cost = self._costs(self.row, self.column)

    def _costs(self, row: Positions, column: Positions) -> FloatArray:
        shift = np.clip(
            self._wanted_mean - self._exemplar_mean[row * self._shape[1] + column], -MEAN_SHIFT_LIMIT, MEAN_SHIFT_LIMIT
        )
        corner = row * self._pitch + column
        squares = np.zeros(len(row), np.float32)
        for wanted, offset in zip(self._wanted, self._offsets, strict=True):
            error = wanted - self._exemplar[corner + offset]
            error -= shift
            squares += np.einsum("ij,ij->i", error, error)
        area = np.float32(PATCH * PATCH)
        costs = squares * (area / len(_SAMPLES)) + area * np.float32(MEAN_SHIFT_COST) * (shift * shift).sum(1)
        costs += self._row_weight * (row - self._expected) ** 2
        return np.asarray(costs, np.float32)

    def attempt(self, row: Positions, column: Positions) -> None:
        """Takes each proposed match that is allowed and better than the one it has."""
        inside = (row >= 0) & (column >= 0) & (row < self._shape[0]) & (column < self._shape[1])
        row = np.clip(row, 0, self._shape[0] - 1)
        column = np.clip(column, 0, self._shape[1] - 1)
        cost = self._costs(row, column)
        better = inside & self._allowed[row * self._shape[1] + column] & (cost < self.cost)
        self.row = np.where(better, row, self.row)
        self.column = np.where(better, column, self.column)
        self.cost = np.where(better, cost, self.cost)


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
    matcher = _Matcher(
        query, exemplar, query_mean, exemplar_mean, active, allowed, rows, columns, expected_rows, row_weight
    )
    y, x = matcher.y, matcher.x
    bottom, right = rows.shape[0] - 1, rows.shape[1] - 1
    refining = radius <= _FINE_RADIUS
    for sweep in range(first_sweep, first_sweep + sweeps):
        generator = np.random.default_rng([seed, sweep])
        for distance in (stride,) if refining else (stride, 3 * stride, stride):
            for vertical, horizontal in _DIRECTIONS:
                rows[y, x], columns[y, x] = matcher.row, matcher.column
                neighbour_y = np.clip(y + vertical * distance, 0, bottom)
                neighbour_x = np.clip(x + horizontal * distance, 0, right)
                matcher.attempt(
                    rows[neighbour_y, neighbour_x] + (y - neighbour_y),
                    columns[neighbour_y, neighbour_x] + (x - neighbour_x),
                )
        reach = 0 if refining else radius
        while reach >= 1:
            matcher.attempt(
                matcher.row + generator.integers(-reach, reach + 1, len(y)),
                matcher.column + generator.integers(-reach, reach + 1, len(y)),
            )
            reach //= 2
    rows[y, x], columns[y, x], costs[y, x] = matcher.row, matcher.column, matcher.cost


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
    y, x = np.nonzero(active)
    row, column = rows[y, x], columns[y, x]
    shift = np.clip(query_mean[y, x] - exemplar_mean[row, column], -MEAN_SHIFT_LIMIT, MEAN_SHIFT_LIMIT)
    weights = confidence[y + PATCH // 2, x + PATCH // 2] / (MINIMUM_COST + costs[y, x])
    if sharpen:
        weights = weights / (MINIMUM_COST + costs[y, x])
    weights = weights.astype(np.float32)[:, None]
    flat_exemplar = np.ascontiguousarray(exemplar).reshape(-1, 3)
    to = y * query.shape[1] + x
    source = row.astype(np.int64) * exemplar.shape[1] + column
    votes = np.zeros((unknown.size, 4), np.float32)
    one_vote = np.empty((len(y), 4), np.float32)
    for i in range(PATCH):
        for j in range(PATCH):
            weight = weights * window[i, j]
            one_vote[:, :3] = (flat_exemplar[source + (i * exemplar.shape[1] + j)] + shift) * weight
            one_vote[:, 3:] = weight
            # No target occurs twice for one (i, j), so that += by index is safe.
            votes[to + (i * query.shape[1] + j)] += one_vote
    votes = votes.reshape(*unknown.shape, 4)
    voted = (unknown > 0) & (votes[..., 3] > 0)
    query[voted] = votes[voted][:, :3] / votes[voted][:, 3:]


def minimum_barrier(image: FloatArray, passes: int) -> FloatArray:
    barrier = np.full(image.shape, np.float32(1e9))
    for border in (barrier[:2], barrier[-2:], barrier[:, :2], barrier[:, -2:]):
        border[...] = 0
    highest, lowest = image.copy(), image.copy()
    for sweep in range(passes):
        step = 1 if sweep % 2 == 0 else -1
        # A line at a time, first down then across: the diagonal paths take one sweep more than pixel by pixel.
        for axis in (0, 1):
            lines, values, highs, lows = (np.moveaxis(a, axis, 0)[::step] for a in (barrier, image, highest, lowest))
            for line in range(1, len(lines)):
                high = np.maximum(highs[line - 1], values[line])
                low = np.minimum(lows[line - 1], values[line])
                better = high - low < lines[line]
                lines[line][better] = (high - low)[better]
                highs[line][better], lows[line][better] = high[better], low[better]
    return np.asarray(barrier.sum(2), np.float32)
