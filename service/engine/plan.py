"""Chooses the new framing of a variation, from nothing but the analysis, the seed and the index."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.core.values import Size
from service.engine.analysis import Source
from service.engine.random_streams import Stream, random_stream

_CANDIDATES = 48
_ARCHETYPES = 8
_GRID = 40
_STEEPEST_TURN = 0.09
_LEAST_FLIP_STRENGTH = 0.3
_MOST_TEXT_STRENGTH = 0.12

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Plan:
    """A framing. A source pixel at p from the centre lands at rotate(p * zoom, turn) + shift from the output's.

    Attributes:
        flip: Whether the source is mirrored first.
        zoom: Output pixels per source pixel.
        shift_x, shift_y: In output pixels.
        turn: In radians.
        warp: Strength of the smooth warp, as a share of the output's long side.
        warp_cells: How many bumps the warp has along a side.
        regrown: How many places that do not matter are to be made up anew.
        seed: For whatever else the image leaves to chance.
    """

    flip: bool
    zoom: float
    shift_x: float
    shift_y: float
    turn: float
    warp: float
    warp_cells: int
    regrown: int
    seed: int


def make_plan(source: Source, size: Size, *, seed: int, index: int, strength: float, allow_flip: bool) -> Plan:
    """The best of 48 framings of the kind that falls to ``index``.

    The kinds (mirrored or not, nearer or farther, to the left or right) take turns in an order fixed by the
    seed, so that the images of one request differ from each other and image ``index`` does not depend on how
    many there are.
    """
    archetype = int(random_stream(seed, Stream.ARCHETYPES).permutation(_ARCHETYPES)[index % _ARCHETYPES])
    generator = random_stream(seed, Stream.FRAMING, index)
    if source.is_text:
        strength = min(strength, _MOST_TEXT_STRENGTH)
    flip = bool(archetype & 1) and allow_flip and not source.is_text and strength >= _LEAST_FLIP_STRENGTH
    frames = _draw_frames(source, size, archetype, strength, generator)
    best = int(np.argmax(_scores(source, size, frames, flip, strength)))
    turn = float(frames.turn[best]) * (0.2 if source.is_text else 1.0)
    warp = (0.0 if source.is_text else 0.003 + 0.009 * strength) * generator.uniform(0.7, 1.3)
    return Plan(
        flip=flip,
        zoom=float(frames.zoom[best]),
        shift_x=float(frames.shift_x[best]),
        shift_y=float(frames.shift_y[best]),
        turn=turn,
        warp=warp,
        warp_cells=int(generator.integers(3, 5)),
        regrown=round(generator.uniform(0.4, 1.0) * 6 * max(0.0, strength - 0.5)),
        seed=int(generator.integers(1 << 30)),
    )


@dataclass(frozen=True, slots=True)
class _Frames:
    """Candidates; every array has one entry for each."""

    base_zoom: float
    zoom: Reals
    shift_x: Reals
    shift_y: Reals
    turn: Reals


def _draw_frames(
    source: Source, size: Size, archetype: int, strength: float, generator: np.random.Generator
) -> _Frames:
    nearer = 1 if archetype & 2 else -1
    side = 1 if archetype & 4 else -1
    cover = max(size.height / source.size.height, size.width / source.size.width)
    contain = min(size.height / source.size.height, size.width / source.size.width)
    # Between covering and containing the frame; but not where that would leave most of it to be made up.
    base_zoom = math.sqrt(cover * contain) if cover / contain < 1.9 else cover / 1.35
    draws = generator.normal(size=(_CANDIDATES, 4))
    zoom = base_zoom * np.exp(nearer * np.abs(draws[:, 0] * (0.03 + 0.22 * strength)))
    return _Frames(
        base_zoom=base_zoom,
        zoom=np.clip(zoom, contain * 0.68, cover * 1.5),
        shift_y=draws[:, 1] * (0.015 + 0.135 * strength) * size.height,
        shift_x=side * np.abs(draws[:, 2] * (0.02 + 0.22 * strength)) * size.width,
        turn=np.clip(np.radians(draws[:, 3] * (0.4 + 2.2 * strength)), -_STEEPEST_TURN, _STEEPEST_TURN),
    )


def _scores(source: Source, size: Size, frames: _Frames, flip: bool, strength: float) -> Reals:
    """How good each candidate is: 0 at best.

    Costs weigh what is lost of the salient parts, how much must be made up and how hard that is, how far the
    change is from what ``strength`` asks for, and how far the subject ends up from the centre or a third.
    """
    salience = np.asarray(source.salience[:, ::-1] if flip else source.salience, np.float64)
    left, right, top, bottom = source.side_difficulty
    if flip:
        left, right = right, left
    holes, moved, beyond = _uncovered(source.size, size, frames)
    hole_cost = 1.2 * (beyond @ np.array([left, right, top, bottom]))
    kept, centre_x, centre_y = _subject_position(salience, source.size, size, frames)
    border = _border_mean(salience, 0) + _border_mean(salience, 1)
    off_thirds = np.minimum(np.abs(centre_x), np.abs(np.abs(centre_x) - 1 / 6))
    cost = (
        5.0 * np.maximum(0, 0.95 - kept)
        + 2.5 * np.maximum(0, holes - (0.03 + 0.27 * strength))
        + hole_cost
        + 0.3 * holes * border
        + 2.0 * np.abs(moved - (0.02 + 0.23 * strength))
        + 0.6 * off_thirds
        + 0.6 * np.abs(centre_y)
    )
    return np.asarray(-cost, np.float64)


def _uncovered(source: Size, size: Size, frames: _Frames) -> tuple[Reals, Reals, Reals]:
    """Per candidate: the share of the output outside the source, the mean displacement relative to the unchanged
    picture (a share of its sides), and the share beyond the left, right, top and bottom side."""
    y, x = (np.mgrid[0:_GRID, 0:_GRID] + 0.5) / _GRID - 0.5
    x, y = (x * size.width)[None], (y * size.height)[None]
    zoom, cosine, sine, shift_x, shift_y = _broadcastable(frames)
    u = ((x - shift_x) * cosine + (y - shift_y) * sine) / zoom
    v = (-(x - shift_x) * sine + (y - shift_y) * cosine) / zoom
    half_width, half_height = source.width / 2, source.height / 2
    beyond = np.stack(
        [(side).mean((1, 2)) for side in (u < -half_width, u > half_width, v < -half_height, v > half_height)], 1
    )
    holes = ((np.abs(u) > half_width) | (np.abs(v) > half_height)).mean((1, 2))
    moved_x = (u - x / frames.base_zoom) / source.width
    moved_y = (v - y / frames.base_zoom) / source.height
    return holes, np.hypot(moved_x, moved_y).mean((1, 2)), beyond


def _subject_position(salience: Reals, source: Size, size: Size, frames: _Frames) -> tuple[Reals, Reals, Reals]:
    """Per candidate: the share of the salience that stays in the frame, and its centre as a share of the sides."""
    height, width = salience.shape
    weights = salience**1.5
    weights /= weights.sum() + 1e-6
    y, x = np.mgrid[0:height, 0:width] + 0.5
    x, y = ((x / width - 0.5) * source.width)[None], ((y / height - 0.5) * source.height)[None]
    zoom, cosine, sine, shift_x, shift_y = _broadcastable(frames)
    out_x = zoom * (x * cosine - y * sine) + shift_x
    out_y = zoom * (x * sine + y * cosine) + shift_y
    inside = (np.abs(out_x) < size.width * 0.49) & (np.abs(out_y) < size.height * 0.49)
    return (
        (weights * inside).sum((1, 2)),
        (weights * out_x).sum((1, 2)) / size.width,
        (weights * out_y).sum((1, 2)) / size.height,
    )


def _broadcastable(frames: _Frames) -> tuple[Reals, Reals, Reals, Reals, Reals]:
    """Zoom, cosine and sine of the turn, and shifts, shaped to be combined with one grid for each candidate."""
    turn = frames.turn[:, None, None]
    return (
        frames.zoom[:, None, None],
        np.cos(turn),
        np.sin(turn),
        frames.shift_x[:, None, None],
        frames.shift_y[:, None, None],
    )


def _border_mean(salience: Reals, axis: int) -> float:
    lines = np.moveaxis(salience, axis, 0)
    return float(np.concatenate([lines[:3].ravel(), lines[-3:].ravel()]).mean())
