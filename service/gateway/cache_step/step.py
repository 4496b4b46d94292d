"""The step around the work on a request: look its result up first, keep it afterwards, do the same work only once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from service.cache.cache import Hit, HitType, Lookup, Query, ResultCache
from service.cache.digests import bucket_digest, direct_digest
from service.cache.entries import CachedResult, Entry, new_id
from service.concurrency.tasks import Background
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Target, VariationRequest
from service.gateway.cache_step.fingerprints import Fingerprints
from service.gateway.cache_step.single_flight import Flight, SingleFlight
from service.gateway.cache_step.terms import CacheDirectives, CacheSettings, parameters_of, scope_of, terms_of
from service.gateway.outcome import CacheReport
from service.gateway.record import FIRST_FRAME, NOT_STORED, Record
from service.governance.callers import Caller

# About the one who asked, or the moment, rather than about what was asked for.
_OWN_FAILURES: Final = frozenset(
    {
        ErrorKind.TIMEOUT,
        ErrorKind.DEADLINE_EXCEEDED,
        ErrorKind.CANCELLED,
        ErrorKind.INTERNAL,
        ErrorKind.UPSTREAM_AUTH,
    }
)


class Turn:
    """One request's turn at the cache. ``hit`` is served if there is one; else the work is done, and told of here.

    ``warnings`` are about what the request says of the cache.
    """

    def __init__(self, report: CacheReport, warnings: tuple[str, ...], hit: Hit | None = None) -> None:
        self.report = report
        self.warnings = warnings
        self.hit = hit

    def made(self, record: Record) -> None:
        """Keeps a complete result for the next time, without waiting until it is kept."""

    def failed(self, error: GatewayError, record: Record) -> None:
        """Lets those who wait for the same result know why there is none."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a request's result in the cache, and the seconds for which it may be served."""

    scope: str
    namespace: str
    ttl_s: float
    query: Query = field(repr=False)
    warnings: tuple[str, ...]


class Caching:
    """One instance serves the whole process.

    Args:
        now: Unix time in seconds.
    """

    def __init__(
        self,
        cache: ResultCache,
        fingerprints: Fingerprints,
        settings: CacheSettings,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cache = cache
        self._fingerprints = fingerprints
        self._settings = settings
        self._now = now
        self._flights: SingleFlight[Query, Hit] = SingleFlight()
        self._keeping = Background("keeping of a result in the cache")

    @contextlib.asynccontextmanager
    async def turn(
        self,
        request: VariationRequest,
        data: bytes,
        route: Sequence[str],
        targets: Sequence[Target],
        caller: Caller,
        wishes: CacheDirectives,
    ) -> AsyncIterator[Turn | None]:
        """Around the work on a request. None: the cache has no part in it.

        Of identical requests at once, one gets a turn without a hit; the others wait, and get what it made.

        Args:
            data: The source's file.
            route: The names that the request asks for, as written.
            targets: What these mean for this caller, in order.

        Raises:
            GatewayError: INVALID_REQUEST ``invalid_image`` where the source cannot be decoded; the failure of the
                identical request that was waited for, where it says something about this one, too.
        """
        place = await self._place(request, data, route, targets, caller, wishes)
        if place is None:
            yield None
            return
        report = CacheReport(place.query.threshold, targets[0])
        hit = await self._from_others(place.query)
        if hit is None:
            async with contextlib.AsyncExitStack() as stack:
                flight = await stack.enter_async_context(self._flights.begun(place.query.direct, place.query))
                hit = await self._cache.look_up(place.query)
                if hit is None:
                    yield _Work(report, place.warnings, flight, lambda result: self._keep(place, result, stack))
                    return
                flight.land(hit)
        served = replace(
            report, hit=True, id=hit.id, hit_type=hit.hit_type.value, similarity=hit.similarity, used=hit.result.target
        )
        yield Turn(served, place.warnings, hit)

    async def delete(self, entry_id: str, caller: Caller) -> bool:
        """Removes one of the caller's entries; whether there was such a one. StorageError: the store is away."""
        scope = scope_of(caller, self._settings)
        return scope is not None and await self._cache.delete(entry_id, scope.name)

    async def delete_namespace(self, namespace: str, caller: Caller) -> int:
        """Removes one of the caller's namespaces; how many entries that were. StorageError: the store is away."""
        scope = scope_of(caller, self._settings)
        return 0 if scope is None else await self._cache.delete_namespace(scope.name, namespace)

    async def settled(self) -> None:
        """Waits until everything that was made has been kept."""
        await self._keeping.settled()

    async def _place(
        self,
        request: VariationRequest,
        data: bytes,
        route: Sequence[str],
        targets: Sequence[Target],
        caller: Caller,
        wishes: CacheDirectives,
    ) -> _Place | None:
        scope = scope_of(caller, self._settings)
        if scope is None or wishes.no_store:
            return None
        settings = self._settings
        fingerprint = await self._fingerprints.of(data)
        parameters = parameters_of(request, route, targets, settings.default_prompt)
        bucket = bucket_digest(scope.name, wishes.namespace, parameters)
        lookup, threshold, warnings = terms_of(wishes, scope, settings)
        query = Query(
            bucket,
            direct_digest(bucket, fingerprint.pixels),
            lookup,
            threshold,
            fingerprint.aspect,
            fingerprint.look,
        )
        ttl_s = settings.ttl_s if wishes.ttl_s is None else min(wishes.ttl_s, settings.ttl_s)
        return _Place(scope.name, wishes.namespace, ttl_s, query, warnings)

    async def _from_others(self, query: Query) -> Hit | None:
        """The result of an identical request under way; None once there is none left to wait for."""
        looked = False
        while (flight := self._flights.under_way(query.direct)) is not None:
            if not looked and not _looked_for(flight.asked, query):
                # The one who is at work was choosier, and may be at work only because of that.
                looked = True
                hit = await self._cache.look_up(query)
                if hit is not None:
                    return hit
                continue
            landed = await flight.landed()
            if isinstance(landed, GatewayError):
                # This request asked nothing of a provider.
                raise landed.replaced(may_have_run=False)
            if landed is not None and _is_welcome(landed, query):
                return landed
            await flight.over()
        return None

    def _keep(self, place: _Place, result: CachedResult, flying: contextlib.AsyncExitStack) -> Hit:
        """Begins to keep a result, and returns it as it will be found."""
        entry_id = new_id()
        # The flight goes on until the entry is there: whoever comes meanwhile finds one or the other.
        flying, expires = flying.pop_all(), self._now() + place.ttl_s

        async def work() -> None:
            async with flying:
                query = place.query
                await self._cache.keep(
                    Entry(
                        entry_id,
                        place.scope,
                        place.namespace,
                        query.bucket,
                        query.direct,
                        query.look,
                        query.aspect,
                        result,
                        expires,
                    )
                )

        self._keeping.start(work())
        return Hit(entry_id, result, HitType.DIRECT, 1.0)


class _Work(Turn):
    """The turn of the one who does the work."""

    def __init__(
        self,
        report: CacheReport,
        warnings: tuple[str, ...],
        flight: Flight[Query, Hit],
        keep: Callable[[CachedResult], Hit],
    ) -> None:
        super().__init__(report, warnings)
        self._flight = flight
        self._keep = keep

    def made(self, record: Record) -> None:
        assert record.made_by is not None, "it is complete"
        made = self._keep(
            CachedResult(
                tuple(record.encoded[index] for index in sorted(record.encoded)),
                record.made_by[1],
                record.deployment,
                record.quality,
                record.background,
                # Warnings about this request and this answer are not about the result.
                tuple(each for each in record.warnings if each not in self._own_warnings(record)),
            )
        )
        self.report = replace(self.report, id=made.id)
        self._flight.land(made)

    def _own_warnings(self, record: Record) -> tuple[str, ...]:
        return (*record.request.warnings, *self.warnings, NOT_STORED, FIRST_FRAME)

    def failed(self, error: GatewayError, record: Record) -> None:
        if not record.images and error.kind not in _OWN_FAILURES:
            self._flight.land(error)


def _looked_for(asked: Query, query: Query) -> bool:
    """Whether ``asked`` has looked for everything that would be a hit for ``query``."""
    if query.lookup & ~asked.lookup:
        return False
    return Lookup.SEMANTIC not in query.lookup or asked.threshold <= query.threshold


def _is_welcome(hit: Hit, query: Query) -> bool:
    """Whether a hit that another request got is one for this request, too."""
    if hit.hit_type is HitType.DIRECT:
        return True
    return Lookup.SEMANTIC in query.lookup and hit.similarity >= query.threshold
