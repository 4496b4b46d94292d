"""A listener to the events of calls."""

from __future__ import annotations

from service.core.calls import AttemptEnded, CallEvent, ImageProduced, ProducedImage
from service.core.values import Attempt


class Heard:
    """Listens to a call: its attempts and its images by their position.

    Attributes:
        images: By position, in the order in which they came.
    """

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.images: dict[int, ProducedImage] = {}

    def __call__(self, event: CallEvent) -> None:
        match event:
            case AttemptEnded():
                self.attempts.append(event.attempt)
            case ImageProduced():
                self.images[event.position] = event.image

    @property
    def outcomes(self) -> list[str]:
        return [attempt.outcome for attempt in self.attempts]
