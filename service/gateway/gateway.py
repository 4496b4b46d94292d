"""Serves one request: the route's targets in turn, until n images are there or no target is left."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from service.core.values import Target, VariationRequest
from service.gateway.attempt import Source, TargetRunner
from service.gateway.directory import Directory
from service.gateway.events import AttemptFailed, AttemptStarted, Emit, Outcome, ignore
from service.gateway.finishing import Finisher
from service.gateway.record import Record
from service.imaging.inspect import ImageLimits, inspect
from service.routing.route import Route, RoutePolicy, Try

_ID_CHARACTERS = string.ascii_letters + string.digits
FetchImage = Callable[[str], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What surrounds a request.

    Attributes:
        deadline: The event loop's time at which the caller stops waiting.
        base_url: Where the caller reached us, for links to results.
        direct_key: The caller's own key for the primary provider. Empty: none.
    """

    deadline: float
    base_url: str
    direct_key: str = field(default="", repr=False)


class Gateway:
    """The use case.

    Args:
        fetch: Downloads the image behind a URL that the caller chose.
        policy: What the operator decides about going from one target to the next.
    """

    def __init__(
        self,
        directory: Directory,
        runner: TargetRunner,
        finisher: Finisher,
        *,
        limits: ImageLimits,
        fetch: FetchImage,
        policy: RoutePolicy,
    ) -> None:
        self._directory = directory
        self._runner = runner
        self._finisher = finisher
        self._limits = limits
        self._fetch = fetch
        self._policy = policy

    async def create(self, request: VariationRequest, surroundings: Surroundings, emit: Emit = ignore) -> Outcome:
        """Makes the variations that ``request`` asks for.

        Args:
            emit: Takes what happens, as it happens; each image is emitted as soon as it is there.

        Raises:
            GatewayError: Nothing could be made. What there is when only some of the images could be made is
                returned with a warning.
        """
        started = time.monotonic()
        targets = self._directory.route(request.model, request.fallbacks)
        data = request.image or await self._fetch(request.image_url)
        source = Source(data, inspect(data, limits=self._limits))
        record = Record(request, self._finisher.bound_to(request, surroundings.base_url), emit)
        made_by = await self._walk(targets, source, record, surroundings, emit)
        return self._outcome(request, record, made_by, started)

    async def _walk(
        self, targets: tuple[Target, ...], source: Source, record: Record, surroundings: Surroundings, emit: Emit
    ) -> tuple[int, Target]:
        """Tries the targets; returns place and name of the last one that made images."""
        route = Route(targets, self._policy)
        made_by: tuple[int, Target] | None = None
        step = route.next()
        while isinstance(step, Try):
            target = step.target
            emit(AttemptStarted(target, step.index))
            before, begun = len(record.images), time.monotonic()
            error = await self._runner.run(
                target,
                source,
                record,
                deadline=surroundings.deadline,
                # The caller's own key is for the provider they named: it never reaches a fallback's host.
                direct_key=surroundings.direct_key if step.index == 0 else "",
            )
            if len(record.images) > before:
                made_by = (step.index, target)
            if error is None:
                assert made_by is not None
                return made_by
            route = route.failed(error)
            step = route.next()
            following = step.target if isinstance(step, Try) else None
            emit(AttemptFailed(record.last_attempt(target, begun, error), error.message, following))
        if made_by is None:
            raise step.error
        record.warn(f"Only {len(record.images)} of {record.request.n} images could be made: {step.error.message}")
        return made_by

    def _outcome(
        self, request: VariationRequest, record: Record, made_by: tuple[int, Target], started: float
    ) -> Outcome:
        fallback_index, target = made_by
        return Outcome(
            id="var_" + "".join(secrets.choice(_ID_CHARACTERS) for _ in range(24)),
            created=int(time.time()),
            images=tuple(image for _, image in sorted(record.images.items())),
            model_requested=request.model or self._directory.default_route,
            target=target,
            deployment=record.deployment,
            fallback_index=fallback_index,
            attempts=tuple(record.attempts),
            latency_ms=round((time.monotonic() - started) * 1000),
            usage=record.usage,
            cost_usd=record.cost_usd,
            quality=record.quality,
            background=record.background,
            warnings=tuple(record.warnings),
            raw_request=record.raw_request,
            raw_response=record.raw_response,
        )
