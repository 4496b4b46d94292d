"""The values that a request comes to: finished images, the use of the cache, the outcome as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from service.core.values import NOTHING_SAID, Attempt, ImageFormat, Provenance, Size, Target, Usage


@dataclass(frozen=True, slots=True)
class FinishedImage:
    """One variation as it goes to the caller: ``data`` or ``url``, never both."""

    index: int
    size: Size
    format: ImageFormat
    data: bytes = field(default=b"", repr=False)
    url: str = ""
    revised_prompt: str = ""
    provenance: Provenance = NOTHING_SAID


@dataclass(frozen=True, slots=True)
class CacheReport:
    """The use of the cache for a request.

    Attributes:
        threshold: The least similarity that counted as a semantic hit.
        requested: The first target of the request's route.
        hit: Whether the images come from the cache.
        id: Of the entry that was served or written. Empty: none was.
        hit_type: ``direct`` or ``semantic``; empty for a miss.
        similarity: Of the source to that of the entry, in [0, 1]; None for a miss.
        used: The target that made the images that were served; None for a miss.
    """

    threshold: float
    requested: Target
    hit: bool = False
    id: str = ""
    hit_type: str = ""
    similarity: float | None = None
    used: Target | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that can be told about a request that succeeded.

    Attributes:
        images: By ascending index; fewer than asked for only with a warning that says so.
        model_requested: As the caller wrote it, or the default route's name.
        target: The target that made the images; with several, the one that made the last.
        fallback_index: That target's place in the route.
        latency_ms: From the request's arrival to now.
        cost_usd: None where unknown.
        cache: How the cache was used; None: it had no part in it.
        seeds, finish_reasons, aspect_ratio: As in ``CallResult``, of all calls together.
    """

    id: str
    created: int
    images: tuple[FinishedImage, ...]
    model_requested: str
    target: Target
    deployment: str
    fallback_index: int
    attempts: tuple[Attempt, ...]
    latency_ms: int
    usage: Usage | None = None
    cost_usd: float | None = None
    quality: str = ""
    background: str = ""
    warnings: tuple[str, ...] = ()
    cache: CacheReport | None = None
    seeds: tuple[int, ...] = ()
    finish_reasons: tuple[str, ...] = ()
    aspect_ratio: str = ""
    raw_request: Any = field(default=None, repr=False)
    raw_response: Any = field(default=None, repr=False)
