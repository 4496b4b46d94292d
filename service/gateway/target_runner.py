"""One target: fits the request to it, splits n over as many calls as it takes, and collects the parts."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from service.catalog.fit import fit
from service.catalog.pricing import cost_usd, failed_cost_usd
from service.catalog.profile import Profile
from service.concurrency.pools import MOST_BYTES_AT_ONCE, ImagingPool
from service.concurrency.tasks import all_of, ended, started
from service.core.calls import AttemptEnded, CallEvent, ImageProduced, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import SUCCESS, Attempt, Target
from service.gateway.backends.base import CallContext, CallReport
from service.gateway.directory import Directory, Provider
from service.gateway.record import Record
from service.gateway.source import Source
from service.imaging.convert import input_cost, passes_at_once, prepare_input
from service.imaging.inspect import ImageLimits
from service.imaging.resize import Detector
from service.routing.rules import RULES


@dataclass(frozen=True, slots=True)
class _Part:
    """One call, and the places in the request of the images that it is to make."""

    call: ProviderCall
    indexes: Sequence[int]


class TargetRunner:
    """Tries one target for the images that are still missing.

    Args:
        default_prompt: Stands in for a missing prompt where a model requires one.
        detector: Finds what the square crop for a model that takes nothing else should keep.
    """

    def __init__(
        self,
        directory: Directory,
        pool: ImagingPool,
        limits: ImageLimits,
        default_prompt: str,
        detector: Detector | None = None,
    ) -> None:
        self._directory = directory
        self._pool = pool
        self._limits = limits
        self._default_prompt = default_prompt
        self._detector = detector
        self._places: dict[str, asyncio.Semaphore] = {}

    async def run(
        self,
        target: Target,
        source: Source,
        record: Record,
        *,
        deadline: float,
        direct_key: str,
        key_names: frozenset[str] = frozenset(),
        turn_ends: float = math.inf,
    ) -> GatewayError | None:
        """Adds what the target makes to ``record``; returns why images are still missing, None when none are.

        Args:
            direct_key: The caller's own key, to be used in place of ours. Empty: none.
            key_names: Those of our keys that the caller may use. Empty: all.
            turn_ends: As in ``CallContext``.
        """
        try:
            provider, profile = self._directory.provider(target), self._directory.profile(target)
            parts = await self._prepare(target, provider, profile, source, record, direct_key)
            # Last, so that a request which never comes to a call cannot use up the one probe of a resting target.
            resting = provider.backend.admit(target.model)
            if resting is not None:
                raise resting
        except GatewayError as error:
            record.failed_before_calling(target, error)
            return error
        made_before = len(record.images)
        # Ends a probe that nobody waits for any more; says nothing about the target's health.
        failure: GatewayError | None = GatewayError(ErrorKind.CANCELLED, "The try was cancelled.")
        standings, now = self._directory.standings, asyncio.get_running_loop().time
        begun = now()
        try:
            with standings.trying(target):
                errors = await all_of(
                    self._call(
                        provider,
                        profile,
                        part,
                        record,
                        deadline=deadline,
                        direct_key=direct_key,
                        key_names=key_names,
                        turn_ends=turn_ends,
                    )
                    for part in parts
                )
            failure = _failure(errors) if record.missing else None
            if failure is None:
                standings.took(target, now() - begun)
            elif RULES[failure.kind].breaker_counts:
                # A target that fails fast is not fast: it counts as if it had taken all the time there was.
                standings.took(target, min(deadline, turn_ends) - begun)
        finally:
            # A target that makes images is well, even where one of several calls failed.
            provider.backend.tried(target.model, None if len(record.images) > made_before else failure)
        return failure

    async def _prepare(
        self,
        target: Target,
        provider: Provider,
        profile: Profile,
        source: Source,
        record: Record,
        direct_key: str,
    ) -> Sequence[_Part]:
        unavailable = provider.backend.unavailable(direct_key=bool(direct_key))
        if unavailable is not None:
            raise unavailable
        fitted = fit(
            record.remaining,
            profile,
            provider=target.provider,
            source=source.facts.size,
            default_prompt=self._default_prompt,
        )
        size = len(source.data)
        image = await self._pool.run(
            lambda: prepare_input(
                source.data, profile, limits=self._limits, facts=source.facts, detector=self._detector
            ),
            at_once=size <= min(MOST_BYTES_AT_ONCE, profile.max_input_bytes) and passes_at_once(source.facts, profile),
            decoded_bytes=input_cost(source.facts, profile, size),
        )
        for warning in fitted.warnings:
            record.warn(warning)
        if image.size.pixels < source.facts.size.pixels and not profile.square_input:
            record.warn(
                f"{target.provider} takes images of at most {profile.max_input_bytes:,} bytes for this model, and of "
                f"{profile.max_input_side:,} pixels a side: made smaller, from {source.facts.size} to {image.size}."
            )
        missing, parts = record.missing, []
        for part in fitted.parts:
            indexes = missing[part.first : part.first + part.n]
            call = fitted.call(part, target.model, image)
            # Gaps left by an earlier target keep the seeds of the images that were made.
            if call.seed is not None:
                call = replace(call, seed=record.seed_of(indexes[0]))
            parts.append(_Part(call, indexes))
        return parts

    async def _call(
        self,
        provider: Provider,
        profile: Profile,
        part: _Part,
        record: Record,
        *,
        deadline: float,
        direct_key: str,
        key_names: frozenset[str],
        turn_ends: float,
    ) -> GatewayError | None:
        """Makes one call and keeps its images as they come; returns its failure, if it has one."""
        keeping: list[asyncio.Task[None]] = []
        attempts: list[Attempt] = []

        def happened(event: CallEvent) -> None:
            match event:
                case ImageProduced():
                    # A provider may send more than it was asked for.
                    if event.position < len(part.indexes):
                        keeping.append(started(record.keep(part.indexes[event.position], event.image)))
                case AttemptEnded():
                    attempts.append(event.attempt)
                    # A success is told once it is known what became of its images, and what they cost.
                    if event.attempt.outcome != SUCCESS:
                        record.ended(event.attempt)

        context = CallContext(
            deadline=deadline,
            emit=happened,
            raw=_raw(record, provider),
            direct_key=direct_key,
            key_names=key_names,
            turn_ends=turn_ends,
        )
        report: CallReport | None = None
        failure: GatewayError | None = None
        try:
            try:
                async with self._place(provider, turn_ends):
                    report = await provider.backend.vary(part.call, profile, context)
            except GatewayError as error:
                failure = error
                record.add_spent(error.usage, failed_cost_usd(error, profile.price))
            # Each by itself: that one image is damaged says nothing about the others, which are paid for.
            damages = [error for error in await asyncio.gather(*keeping, return_exceptions=True) if error is not None]
        except BaseException:
            await ended(keeping)
            raise
        for damage in damages:
            if not isinstance(damage, GatewayError):
                raise damage
            failure = failure or damage
        if report is not None:
            sizes = [part.call.size] * len(report.result.images)
            cost = cost_usd(report.result, profile.price, sizes)
            record.add(report, cost)
            useless = failure is not None and len(damages) == len(keeping)
            # The provider answered well, but no image of its answer could be used.
            ended_as = replace(attempts[-1], outcome=failure.kind.value) if failure and useless else attempts[-1]
            record.ended(ended_as, cost)
        elif failure is not None and not attempts:
            record.failed_before_calling(Target(provider.name, part.call.model), failure)
        return failure

    @contextlib.asynccontextmanager
    async def _place(self, provider: Provider, turn_ends: float) -> AsyncIterator[None]:
        """A place among the calls that the provider may be asked at a time.

        Raises:
            GatewayError: TIME_SHARE_USED: none became free in time.
        """
        if provider.concurrency is None:
            yield
            return
        places = self._places.setdefault(provider.name, asyncio.Semaphore(provider.concurrency))
        try:
            async with asyncio.timeout_at(turn_ends if math.isfinite(turn_ends) else None):
                await places.acquire()
        except TimeoutError:
            message = f"{provider.name} was busy with other requests for its whole share of this one's time."
            raise GatewayError(ErrorKind.TIME_SHARE_USED, message, may_have_run=False) from None
        try:
            yield
        finally:
            places.release()


def _failure(errors: Sequence[GatewayError | None]) -> GatewayError:
    """The failure that stands for those of all calls of a try.

    One that no further target is to be tried after goes before the others: content that was refused in one call is
    not shown around because another call had an accident.
    """
    failures = [error for error in errors if error is not None]
    if not failures:
        return GatewayError(ErrorKind.BAD_RESPONSE, "The provider made fewer images than it was asked for.")
    return next((error for error in failures if not RULES[error.kind].next_target), failures[0])


def _raw(record: Record, provider: Provider) -> bool:
    """Whether to show the exchange with a provider; a warning where it is asked for and not allowed."""
    if record.request.raw and not (provider.allow_raw or provider.always_raw):
        record.warn(f"The exchange with {provider.name} is not shown: this gateway does not allow it (allow_raw).")
    return provider.always_raw or (record.request.raw and provider.allow_raw)
