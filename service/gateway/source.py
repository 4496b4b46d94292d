"""The caller's image."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.imaging.inspect import ImageFacts


@dataclass(frozen=True, slots=True)
class Source:
    """The caller's image as it came, and what its header says."""

    data: bytes = field(repr=False)
    facts: ImageFacts
