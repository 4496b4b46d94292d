"""Serves one request: the route's targets in turn, until n images are there or no target is left."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from service.cache.cache import Hit
from service.cache.entries import CachedImage
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Target, VariationRequest
from service.gateway.admission import Admission, Reserve
from service.gateway.cache_step.step import Caching
from service.gateway.cache_step.terms import NO_DIRECTIVES, CacheDirectives
from service.gateway.delivery.finishing import Finisher
from service.gateway.directory import Directory
from service.gateway.events import AttemptStarted, CacheConsulted, Emit, RequestEnded, both, ignore
from service.gateway.outcome import Outcome
from service.gateway.record import FIRST_FRAME, Record
from service.gateway.source import Source
from service.gateway.target_runner import TargetRunner
from service.governance.callers import ANYBODY, Caller
from service.imaging.inspect import ImageLimits, inspect
from service.routing.route import Route, RoutePolicy, Try

# Seconds between the end of the backends' time and the end of the request's.
_CLOSING_S = 0.05

FetchImage = Callable[[str], Awaitable[bytes]]
Download = Callable[[], Awaitable[bytes]]


async def _at_once(download: Download) -> bytes:
    return await download()


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The circumstances of a request.

    Attributes:
        deadline: The event loop's time at which the caller stops waiting.
        base_url: Where the caller reached us, for links to results.
        direct_key: The caller's own key for the primary provider. Empty: none.
        caller: The caller, with everything that this caller may do.
        cache: What the request says about the cache.
        downloading: Runs the download of the caller's image, which may take long; it says when there is room for it.
    """

    deadline: float
    base_url: str
    direct_key: str = field(default="", repr=False)
    caller: Caller = ANYBODY
    cache: CacheDirectives = NO_DIRECTIVES
    downloading: Callable[[Download], Awaitable[bytes]] = _at_once


class Gateway:
    """The use case.

    Args:
        fetch: Downloads the image behind a URL that the caller chose.
        policy: What the operator decides about going from one target to the next.
        admission: Checks what a caller may do. None: every caller may do everything.
        caching: Finds earlier results. None: every request is worked on.
        observe: Takes the events of all requests.
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
        admission: Admission | None = None,
        caching: Caching | None = None,
        observe: Emit = ignore,
    ) -> None:
        self._directory = directory
        self._runner = runner
        self._finisher = finisher
        self._limits = limits
        self._fetch = fetch
        self._policy = policy
        self._admission = admission or Admission(directory)
        self._caching = caching
        self._observe = observe

    async def create(self, request: VariationRequest, context: RequestContext, emit: Emit = ignore) -> Outcome:
        """Makes the variations that ``request`` asks for, and ends by the deadline whatever a backend does.

        Args:
            emit: Takes what happens, as it happens; each image is emitted as soon as it is there.

        Raises:
            GatewayError: Nothing could be made; DEADLINE_EXCEEDED, listing what was tried, when the time
                ran out. What there is when only some of the images could be made is returned with a warning.
        """
        started = time.monotonic()
        emit = both(self._observe, emit)
        outcome: Outcome | None = None
        failure: GatewayError | None = None
        try:
            outcome = await self._create(request, context, emit, started)
            return outcome
        except GatewayError as error:
            failure = error
            raise
        finally:
            emit(RequestEnded(time.monotonic() - started, outcome, failure))

    async def count_refused(self, caller: Caller, emit: Emit) -> None:
        """As ``Admission.count_refused``."""
        await self._admission.count_refused(caller, emit)

    async def _create(self, request: VariationRequest, context: RequestContext, emit: Emit, started: float) -> Outcome:
        try:
            route = self._admission.route(request, context.caller)
        except GatewayError:
            await self.count_refused(context.caller, emit)
            raise
        targets, unaffordable = self._admission.affordable(route, context.caller)
        encoded: dict[int, CachedImage] | None = {} if self._caching else None
        finish = self._finisher.bound_to(request, context.base_url, context.caller.identity, encoded)
        record = Record(request, finish, emit, encoded)
        for warning in unaffordable:
            record.warn(warning)
        for provider in sorted(request.provider_options.keys() - {target.provider for target in targets}):
            record.warn(f"provider_options for {provider[:64]!r} were not used: it is not among the providers asked.")
        async with self._admission.admitted(request, targets, context.caller, record, emit) as reserve:
            await self._fill(targets, record, context, emit, reserve)
        assert record.made_by is not None, "no error means that every image was made"
        if stood_in := self._directory.stood_in(request.model, record.made_by[1]):
            record.warn(stood_in)
        return self._outcome(request, record, record.made_by, started)

    async def _fill(
        self, targets: tuple[Target, ...], record: Record, context: RequestContext, emit: Emit, reserve: Reserve
    ) -> None:
        """Makes what can be made before the deadline; GatewayError when that is nothing, a warning when not all."""
        try:
            async with asyncio.timeout_at(context.deadline) as patience:
                error = await self._make(targets, record, context, emit, reserve)
        except TimeoutError:
            if not patience.expired():
                raise
            record.ran_out_of_time()
            error = GatewayError(ErrorKind.DEADLINE_EXCEEDED, "The request's time ran out.")
            _tell_failure(record, error, None, emit)
        if error is not None:
            record.cut_short = error.kind is ErrorKind.DEADLINE_EXCEEDED
            error = _explained(error, record).replaced(attempts=tuple(record.attempts))
            if record.made_by is None:
                raise error
            record.warn(f"Only {len(record.images)} of {record.request.n} images could be made: {error.message}")

    async def _make(
        self, targets: tuple[Target, ...], record: Record, context: RequestContext, emit: Emit, reserve: Reserve
    ) -> GatewayError | None:
        """Finds or makes the images; returns why some are missing, None when none are."""
        request = record.request
        data = request.image or await context.downloading(lambda: self._fetch(request.image_url))
        source = Source(data, inspect(data, limits=self._limits))
        if source.facts.animated:
            record.warn(FIRST_FRAME)
        if self._caching is None:
            await reserve()
            return await self._walk(targets, source, record, context, emit)
        names = (request.model or self._directory.default_route, *request.fallbacks)
        async with self._caching.turn(request, data, names, targets, context.caller, context.cache) as turn:
            if turn is None:
                await reserve()
                return await self._walk(targets, source, record, context, emit)
            record.cache = turn.report
            for warning in turn.warnings:
                record.warn(warning)
            if turn.hit is not None:
                await self._serve(turn.hit, targets, record, context, emit)
                return None
            await reserve()
            emit(CacheConsulted())
            error = await self._walk(targets, source, record, context, emit)
            if error is None:
                turn.made(record)
                record.cache = turn.report
            else:
                turn.failed(error, record)
            return error

    async def _serve(
        self,
        hit: Hit,
        targets: tuple[Target, ...],
        record: Record,
        context: RequestContext,
        emit: Emit,
    ) -> None:
        """Hands out an earlier result once more."""
        result = hit.result
        # The target is in the route: the cache key contains the route's targets.
        place = targets.index(result.target)
        emit(CacheConsulted(result.target, place, hit.hit_type.value))
        record.served(result, place)
        for index, cached in enumerate(result.images):
            image = await self._finisher.delivered(
                index,
                cached,
                record.request,
                context.base_url,
                context.caller.identity,
                repeated=f"{hit.id} {index}",
            )
            record.serve(index, image, result.target)

    async def _walk(
        self,
        targets: tuple[Target, ...],
        source: Source,
        record: Record,
        context: RequestContext,
        emit: Emit,
    ) -> GatewayError | None:
        """Tries the targets until every image is there; returns why some are missing, None when none are."""
        request = record.request
        # The caller's own key is for the provider they named: it never reaches another's host.
        direct_key = context.direct_key if self._directory.names_provider(request.model) else ""
        deadline = _for_backends(context.deadline)
        route = Route(targets, self._policy)
        step = route.next()
        while isinstance(step, Try):
            target = step.target
            record.begin(step.index, target)
            emit(AttemptStarted(target, step.index))
            error = await self._runner.run(
                target,
                source,
                record,
                deadline=deadline,
                direct_key=direct_key if step.index == 0 else "",
                key_names=context.caller.key_names(target.provider),
                turn_ends=route.turn_ends(asyncio.get_running_loop().time(), deadline, self._directory.usable),
            )
            if error is None:
                return None
            route = route.failed(error)
            step = route.next()
            _tell_failure(record, error, step.target if isinstance(step, Try) else None, emit)
        return step.error

    def _outcome(
        self, request: VariationRequest, record: Record, made_by: tuple[int, Target], started: float
    ) -> Outcome:
        fallback_index, target = made_by
        return Outcome(
            id=f"var_{secrets.token_hex(12)}",
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
            cache=record.cache,
            seeds=record.seeds,
            finish_reasons=record.finish_reasons,
            aspect_ratio=record.aspect_ratio,
            raw_request=record.raw_request,
            raw_response=record.raw_response,
        )


def _tell_failure(record: Record, error: GatewayError, next_target: Target | None, emit: Emit) -> None:
    event = record.failure(error, next_target)
    if event is not None:
        emit(event)


def _for_backends(deadline: float) -> float:
    """A little before the deadline, so that a backend which minds it can say itself how far it got."""
    left = deadline - asyncio.get_running_loop().time()
    return deadline - min(_CLOSING_S, 0.1 * max(0.0, left))


def _explained(error: GatewayError, record: Record) -> GatewayError:
    """The error, or, where time ran out, one that lists what the time was spent on."""
    if error.kind is not ErrorKind.DEADLINE_EXCEEDED:
        return error
    spent = f"Tried: {record.tried()}." if record.attempts else "No provider had been asked yet."
    return GatewayError(ErrorKind.DEADLINE_EXCEEDED, f"The time allowed for this request ran out. {spent}")
