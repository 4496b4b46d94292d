"""Independent random streams, each fixed by the seed and what it is for.

Every choice draws from its own stream, so that image ``index`` never depends on how many images were made
before it, and a new kind of choice leaves all others as they were.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """The decision that a random stream is for. Never renumber or reuse a value, those below 5
    included, which earlier versions had: a seed would give other images."""

    IDEA = 5
    SIDE = 6
    HUE = 7
    LOOK = 8
    FLIP = 9


def random_stream(seed: int, stream: Stream, *keys: int) -> np.random.Generator:
    """The generator for one purpose; the same arguments always give the same numbers."""
    return np.random.default_rng([seed & 0xFFFF_FFFF, int(stream), *keys])
