"""One target: fits the request to it, splits n over as many calls as it takes, and collects the parts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.core.errors import ErrorKind, GatewayError
from service.core.values import Target
from service.gateway.backend import CallContext
from service.gateway.directory import Directory, Provider
from service.gateway.finishing import ImagingPool
from service.gateway.record import Record
from service.imaging.convert import prepare_input
from service.imaging.inspect import ImageFacts, ImageLimits
from service.providers.base import ProducedImage, Profile, ProviderCall
from service.providers.fit import fit
from service.providers.pricing import cost_usd


@dataclass(frozen=True, slots=True)
class Source:
    """The caller's image as it came, and what its header says."""

    data: bytes = field(repr=False)
    facts: ImageFacts


class TargetRunner:
    """Tries one target for the images that are still missing.

    Args:
        default_prompt: Stands in for a missing prompt where a model requires one.
    """

    def __init__(self, directory: Directory, pool: ImagingPool, limits: ImageLimits, default_prompt: str) -> None:
        self._directory = directory
        self._pool = pool
        self._limits = limits
        self._default_prompt = default_prompt

    async def run(
        self, target: Target, source: Source, record: Record, *, deadline: float, direct_key: str
    ) -> GatewayError | None:
        """Adds what the target makes to ``record``; returns why images are still missing, None when none are."""
        provider, profile = self._directory.provider(target), self._directory.profile(target)
        try:
            calls = await self._prepare(target, provider, profile, source, record, direct_key)
        except GatewayError as error:
            record.failed_before_calling(target, error)
            return error
        places = asyncio.Semaphore(provider.concurrency)
        missing, runs, first = record.missing, [], 0
        for call in calls:
            indexes = missing[first : first + call.n]
            first += call.n
            runs.append(self._call(provider, profile, call, indexes, record, places, deadline, direct_key))
        errors = await asyncio.gather(*runs)
        if not record.missing:
            return None
        short = GatewayError(ErrorKind.BAD_RESPONSE, "The provider made fewer images than it was asked for.")
        return next((error for error in errors if error is not None), short)

    async def _prepare(
        self,
        target: Target,
        provider: Provider,
        profile: Profile,
        source: Source,
        record: Record,
        direct_key: str,
    ) -> Sequence[ProviderCall]:
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
        for warning in fitted.warnings:
            record.warn(warning)
        image = await self._pool.run(lambda: prepare_input(source.data, profile, limits=self._limits))
        return [fitted.call(part, target.model, image) for part in fitted.parts]

    async def _call(
        self,
        provider: Provider,
        profile: Profile,
        call: ProviderCall,
        indexes: Sequence[int],
        record: Record,
        places: asyncio.Semaphore,
        deadline: float,
        direct_key: str,
    ) -> GatewayError | None:
        """Makes one call and keeps its images as they come; returns its failure, if it has one."""
        async with places:
            finishing: list[asyncio.Task[None]] = []

            def keep(position: int, image: ProducedImage) -> None:
                # A provider may send more than it was asked for.
                if position < len(indexes):
                    finishing.append(asyncio.create_task(record.keep(indexes[position], image)))

            context = CallContext(
                deadline=deadline,
                emit=keep,
                record=record.attempts.append,
                raw=provider.always_raw or (record.request.raw and provider.allow_raw),
                direct_key=direct_key,
            )
            try:
                try:
                    report = await provider.backend.vary(call, profile, context)
                finally:
                    await asyncio.gather(*finishing)
            except GatewayError as error:
                return error
            finally:
                for task in finishing:
                    task.cancel()
            sizes = [call.size] * len(report.result.images)
            record.add(report, cost_usd(report.result, profile.price, sizes))
            return None
