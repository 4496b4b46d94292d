"""Independent random streams, each fixed by the seed and what it is for.

Every choice draws from its own stream, so that image ``index`` never depends on how many images were made
before it, and a new kind of choice leaves all others as they were.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """The decision that a random stream is for. Never renumber the values: a seed would give other images."""

    ARCHETYPES = 1
    FRAMING = 2
    LIGHT = 3
    LIGHT_ANGLE = 4
    IDEA = 5
    SIDE = 6
    HUE = 7
    LOOK = 8
    FLIP = 9


def random_stream(seed: int, stream: Stream, *keys: int) -> np.random.Generator:
    """The generator for one purpose; the same arguments always give the same numbers."""
    return np.random.default_rng([seed & 0xFFFF_FFFF, int(stream), *keys])


GOLDEN_ANGLE = 2.399963
"""Radians. Successive multiples never come close to each other, however many images there are."""


def light_angle(seed: int, index: int) -> float:
    """Radians: where in the plane of colour moods image ``index`` lies; spread evenly over the indexes."""
    start = random_stream(seed, Stream.LIGHT_ANGLE).uniform(0.0, 2 * np.pi)
    return float(start + index * GOLDEN_ANGLE)
