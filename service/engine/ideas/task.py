"""The task of making one variation, and its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from service.engine.arrays import FloatArray
from service.engine.boxes import Matrix
from service.engine.random_streams import Stream, random_stream
from service.engine.scene import Scene

IDEAS = ("closer", "wider", "light", "paint", "aside", "mood", "film", "studio")
"""The ideas by name. Every kind of picture has all of them; where one does not suit, the nearest that does."""

NEUTRAL_STRENGTH = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One variation to be made.

    Attributes:
        scene: The picture at the output's size.
        idea: Of ``IDEAS``.
        variant: 0 for the first of its idea, then 1, 2 ...: never the same twice.
        strength: 0 to 1; .5 is what every recipe was tuned at.
        seed, index: What chance is drawn from.
        reframes, relights: Whether framing and light may change at all.
        checkpoint: Called between steps; may raise to give up.
    """

    scene: Scene
    idea: str
    variant: int
    strength: float
    seed: int
    index: int
    reframes: bool
    relights: bool
    checkpoint: Callable[[], None] = field(repr=False)

    def generator(self) -> np.random.Generator:
        """Chance of this image's own."""
        return random_stream(self.seed, Stream.IDEA, self.index)

    @property
    def side(self) -> int:
        """1 or -1: where light comes from and figures lean to, alike in all images of a request."""
        return 1 if random_stream(self.seed, Stream.SIDE).random() < 0.5 else -1

    @property
    def effort(self) -> float:
        """The strength relative to the neutral one, 0..2."""
        return self.strength / NEUTRAL_STRENGTH

    def amount(self, neutral: float) -> float:
        """The amount of a light or a look: ``neutral`` at strength .5, and at least a fifth of it."""
        if not self.relights:
            return 0.0
        return neutral * float(np.clip(self.effort, 0.2, 1.35))

    def zoom(self, neutral: float) -> float:
        """A zoom: ``neutral`` at strength .5, nearer to 1 below."""
        if not self.reframes:
            return 1.0
        return float(neutral ** np.clip(self.effort, 0.15, 1.3))


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A finished variation.

    Attributes:
        image: H x W x 3 in 0..1.
        alpha: H x W in 0..1, or None.
        matrix: 2 x 3 or 3 x 3: where each pixel of the scene went.
    """

    image: FloatArray = field(repr=False)
    matrix: Matrix = field(repr=False)
    alpha: FloatArray | None = field(repr=False, default=None)
