"""The state of a request while it is being served: its images so far, attempts, usage, cost and warnings."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from service.cache.entries import CachedImage, CachedResult
from service.core.calls import AttemptEnded, ProducedImage
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Attempt, ResponseFormat, Target, Usage, VariationRequest
from service.gateway.backends.base import CallReport
from service.gateway.events import AttemptFailed, Emit, ImageCompleted
from service.gateway.outcome import CacheReport, FinishedImage

FIRST_FRAME: Final = "The image has several frames or pages: the first one was varied."
NOT_STORED: Final = "The result could not be stored to be linked to, so it is in the answer itself."

Finish = Callable[[int, ProducedImage], Awaitable[FinishedImage]]
"""From an image as produced, and its index in the request, to the image as the caller gets it."""


class Record:
    """Grows as targets are tried. Belongs to one request and one task tree; never shared between threads.

    Attributes:
        encoded: The images' files by their index, where ``finish`` leaves them for the cache.
        cache: How the cache was used; None: it had no part in it.
        made_by: Place in the route and name of the target that made the last image; None while there is none.
        cut_short: Whether time ran out while a target was at work, which may bill what nobody waited for.
    """

    def __init__(
        self, request: VariationRequest, finish: Finish, emit: Emit, encoded: Mapping[int, CachedImage] | None = None
    ) -> None:
        self.request = request
        self.images: dict[int, FinishedImage] = {}
        self.encoded = {} if encoded is None else encoded
        self.cache: CacheReport | None = None
        self.attempts: list[Attempt] = []
        self.warnings: list[str] = list(request.warnings)
        self.usage: Usage | None = None
        self.cost_usd: float | None = None
        self.deployment = ""
        self.quality = ""
        self.background = ""
        self.seeds: tuple[int, ...] = ()
        self.finish_reasons: tuple[str, ...] = ()
        self.aspect_ratio = ""
        self.raw_request: Any = None
        self.raw_response: Any = None
        self.made_by: tuple[int, Target] | None = None
        self.cut_short = False
        self._current: tuple[int, Target] | None = None
        self._unpriced = False
        self._begun = 0.0
        self._attempts_before = 0
        self._finish = finish
        self._emit = emit

    @property
    def target(self) -> Target | None:
        """The target that is being tried, or was tried last; None before the first."""
        return self._current[1] if self._current else None

    @property
    def missing(self) -> list[int]:
        """Indexes of the images that are still to be made, ascending."""
        return [index for index in range(self.request.n) if index not in self.images]

    @property
    def remaining(self) -> VariationRequest:
        """The caller's request for just the missing images, with the seed that the first of them is due."""
        missing = self.missing
        if len(missing) == self.request.n:
            return self.request
        return dataclasses.replace(self.request, n=len(missing), seed=self.seed_of(missing[0]))

    def seed_of(self, index: int) -> int | None:
        """The seed that the image at ``index`` is due, whichever call makes it; None where chance decides."""
        return None if self.request.seed is None else (self.request.seed + index) % 2**32

    def begin(self, place: int, target: Target) -> None:
        """From now on, images and attempts are those of ``target``, at ``place`` in the route."""
        self._current = (place, target)
        self._begun = time.monotonic()
        self._attempts_before = len(self.attempts)

    async def keep(self, index: int, produced: ProducedImage) -> None:
        """Finishes an image and keeps it under its index."""
        image = await self._finish(index, produced)
        self._take(index, image)
        assert self._current is not None, "a target is at work"
        self.made_by = self._current
        self._emit(ImageCompleted(image, self._current[1]))

    def serve(self, index: int, image: FinishedImage, target: Target) -> None:
        """Takes an image that ``target`` made for an earlier request."""
        self._take(index, image)
        self._emit(ImageCompleted(image, target))

    def _take(self, index: int, image: FinishedImage) -> None:
        self.images[index] = image
        if not image.url and self.request.response_format is ResponseFormat.URL:
            self.warn(NOT_STORED)

    def served(self, result: CachedResult, place: int) -> None:
        """Notes that all images are those of an earlier result, so that nothing was spent on them.

        Args:
            place: Of the target that made them, in the route.
        """
        self.made_by = (place, result.target)
        self.cost_usd = 0.0
        self.deployment, self.quality, self.background = result.deployment, result.quality, result.background
        for warning in result.warnings:
            self.warn(warning)
        if self.request.raw:
            self.warn("The result comes from the cache, so there is no exchange with a provider to show.")

    def warn(self, warning: str) -> None:
        """Notes something done differently from what was asked, once."""
        if warning not in self.warnings:
            self.warnings.append(warning)

    def add(self, report: CallReport, cost_usd: float | None) -> None:
        """Adds up what one call came to."""
        result = report.result
        # A sum with a part that nobody knows is not known either.
        self._unpriced = self._unpriced or cost_usd is None
        self.add_spent(result.usage, cost_usd)
        self.deployment = result.deployment or self.deployment
        self.quality = result.quality or self.quality
        self.background = result.background or self.background
        self.seeds += result.seeds
        self.finish_reasons += result.finish_reasons
        self.aspect_ratio = result.aspect_ratio or self.aspect_ratio
        self.raw_request = report.raw_request if report.raw_request is not None else self.raw_request
        self.raw_response = report.raw_response if report.raw_response is not None else self.raw_response
        for warning in result.warnings:
            self.warn(warning)

    def add_spent(self, usage: Usage | None, cost_usd: float | None) -> None:
        """Adds up what one call came to, whether it brought images or not."""
        if usage is not None:
            self.usage = usage if self.usage is None else self.usage + usage
        if self._unpriced:
            self.cost_usd = None
        elif cost_usd is not None:
            self.cost_usd = cost_usd if self.cost_usd is None else self.cost_usd + cost_usd

    def ended(self, attempt: Attempt, cost_usd: float | None = None) -> None:
        """Notes an attempt that is over."""
        self.attempts.append(attempt)
        self._emit(AttemptEnded(attempt, cost_usd))

    def failed_before_calling(self, target: Target, error: GatewayError) -> None:
        """Notes a target that was given up without a call: not installed, no key, cannot express the request."""
        self.ended(Attempt(target.provider, target.model, "", 0, error.kind.value))

    def ran_out_of_time(self) -> None:
        """Notes that the current target's attempts which were stopped were stopped because time ran out."""
        stopped, late = ErrorKind.CANCELLED.value, ErrorKind.DEADLINE_EXCEEDED.value
        own = self.attempts[self._attempts_before :]
        self.attempts[self._attempts_before :] = [
            dataclasses.replace(attempt, outcome=late) if attempt.outcome == stopped else attempt for attempt in own
        ]
        if not own and self._current is not None:
            _, target = self._current
            self.ended(Attempt(target.provider, target.model, "", self._elapsed_ms(), late))

    def failure(self, error: GatewayError, next_target: Target | None) -> AttemptFailed | None:
        """The event that tells of the current target's failure; None where no target has been begun with."""
        if self._current is None:
            return None
        return AttemptFailed(self._last_attempt(self._current[1], error), error.message, next_target)

    def _last_attempt(self, target: Target, error: GatewayError) -> Attempt:
        """The attempt that stands for the failure of the current target."""
        for attempt in reversed(self.attempts[self._attempts_before :]):
            if attempt.outcome == error.kind.value:
                return attempt
        return Attempt(target.provider, target.model, "", self._elapsed_ms(), error.kind.value, error.upstream_status)

    def _elapsed_ms(self) -> int:
        return round((time.monotonic() - self._begun) * 1000)

    def tried(self) -> str:
        """The attempts so far as a phrase, such as ``openai/gpt-image-2 (rate_limited), local/vary (timeout)``."""
        phrases = (f"{attempt.provider}/{attempt.model} ({attempt.outcome})" for attempt in self.attempts)
        return ", ".join(dict.fromkeys(phrases))
