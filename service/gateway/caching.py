"""The step around the work on a request: look its result up first, keep it afterwards, do the same work only once."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from service.cache.cache import Hit, HitType, Lookup, Query, ResultCache
from service.cache.entries import CachedResult, Entry, new_id
from service.cache.keys import bucket_digest, direct_digest
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Target, VariationRequest
from service.gateway.events import CacheReport
from service.gateway.fingerprints import Fingerprints
from service.gateway.record import Record
from service.gateway.single_flight import Flight, SingleFlight
from service.governance.callers import Caller, CallerKind
from service.governance.keys import CacheScope

DEFAULT_NAMESPACE: Final = "default"
_SHARED: Final = "shared"

# About the one who asked, or the moment, rather than about what was asked for.
_OWN_FAILURES: Final = frozenset({ErrorKind.TIMEOUT, ErrorKind.CANCELLED, ErrorKind.INTERNAL, ErrorKind.UPSTREAM_AUTH})


@dataclass(frozen=True, slots=True)
class CacheWishes:
    """What a request says about the cache.

    Attributes:
        namespace: A part of the caller's own cache.
        ttl_s: How long its result may be served again, if that is less than the operator's time.
        lookup: In which ways its result may be looked up.
        threshold: The least similarity of a semantic hit. None: the operator's.
        no_store: Whether it wants a fresh result, and that one not kept.
    """

    namespace: str = DEFAULT_NAMESPACE
    ttl_s: float | None = None
    lookup: Lookup = Lookup.BOTH
    threshold: float | None = None
    no_store: bool = False


NO_WISHES: Final = CacheWishes()


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What the operator decides about the cache.

    Attributes:
        threshold: The least similarity of a semantic hit, where the request says none.
        ttl_s: How long results are served again, at most.
        default_prompt: Stands in for a missing prompt, so it decides what a result looks like.
        share_without_key: Whether callers without a virtual key share with all others who share; otherwise each
            token is by itself, and so are those who need no credential.
        direct_keys: Whether it serves callers who bring a provider's own key, each by themselves.
    """

    threshold: float
    ttl_s: float
    default_prompt: str
    share_without_key: bool = False
    direct_keys: bool = False


class Turn:
    """One request's turn at the cache: ``hit`` is served if there is one, else what was made is offered to ``made``."""

    def __init__(self, report: CacheReport, hit: Hit | None = None) -> None:
        self.report = report
        self.hit = hit

    def made(self, record: Record) -> None:
        """Keeps a complete result for the next time."""

    def failed(self, error: GatewayError, record: Record) -> None:
        """Lets those who wait for the same result know why there is none."""


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
        self._flights: SingleFlight[Hit] = SingleFlight()
        self._keeping: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def turn(
        self,
        request: VariationRequest,
        data: bytes,
        route: Sequence[str],
        targets: Sequence[Target],
        caller: Caller,
        wishes: CacheWishes,
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
        scope = scope_of(caller, self._settings)
        if scope is None or wishes.no_store:
            yield None
            return
        fingerprint = await self._fingerprints.of(data)
        parameters = _parameters(request, route, targets, self._settings.default_prompt)
        bucket = bucket_digest(scope, wishes.namespace, parameters)
        query = Query(
            bucket,
            direct_digest(bucket, fingerprint.pixels),
            wishes.lookup,
            self._settings.threshold if wishes.threshold is None else wishes.threshold,
            fingerprint.aspect,
            fingerprint.look,
        )
        report = CacheReport(query.threshold, targets[0])
        while (flight := self._flights.under_way(query.direct)) is not None:
            landed = await flight.landed()
            if isinstance(landed, GatewayError):
                raise _again(landed)
            if landed is not None and _is_welcome(landed, query):
                yield Turn(_with(report, landed), landed)
                return
        async with contextlib.AsyncExitStack() as stack:
            flight = await stack.enter_async_context(self._flights.begun(query.direct))
            hit = await self._cache.look_up(query)
            if hit is not None:
                flight.land(hit)
                yield Turn(_with(report, hit), hit)
                return
            # The decoded pixels are not held while a provider is at work: what is needed of them is seen now.
            look = await fingerprint.look()
            ttl_s = min(self._settings.ttl_s, wishes.ttl_s or self._settings.ttl_s)

            def entry(result: CachedResult) -> Entry:
                return Entry(
                    new_id(),
                    scope,
                    wishes.namespace,
                    bucket,
                    query.direct,
                    look,
                    fingerprint.aspect,
                    result,
                    expires=self._now() + ttl_s,
                )

            def keep(made: Entry) -> None:
                # The flight goes on until the entry is there: whoever comes meanwhile finds one or the other.
                self._keep(made, stack.pop_all())

            yield _Work(report, flight, entry, keep)

    async def delete(self, entry_id: str, caller: Caller) -> bool:
        """Removes one of the caller's entries; whether there was such a one. CacheStoreError: the store is away."""
        scope = scope_of(caller, self._settings)
        return scope is not None and await self._cache.delete(entry_id, scope)

    async def delete_namespace(self, namespace: str, caller: Caller) -> int:
        """Removes one of the caller's namespaces; how many entries that were. CacheStoreError: the store is away."""
        scope = scope_of(caller, self._settings)
        return 0 if scope is None else await self._cache.delete_namespace(scope, namespace)

    async def settled(self) -> None:
        """Waits until everything that was made has been kept."""
        while self._keeping:
            await asyncio.wait(self._keeping)

    def _keep(self, made: Entry, until_kept: contextlib.AsyncExitStack) -> None:
        async def work() -> None:
            async with until_kept:
                await self._cache.keep(made)

        task = asyncio.create_task(work())
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)


class _Work(Turn):
    """The turn of the one who does the work."""

    def __init__(
        self,
        report: CacheReport,
        flight: Flight[Hit],
        entry: Callable[[CachedResult], Entry],
        keep: Callable[[Entry], None],
    ) -> None:
        super().__init__(report)
        self._flight = flight
        self._entry = entry
        self._keep = keep

    def made(self, record: Record) -> None:
        assert record.made_by is not None, "it is complete"
        result = CachedResult(
            tuple(record.encoded[index] for index in sorted(record.encoded)),
            record.made_by[1],
            record.deployment,
            record.quality,
            record.background,
            # What there is to say of the way this request was written is not about the result.
            tuple(warning for warning in record.warnings if warning not in record.request.warnings),
        )
        entry = self._entry(result)
        self.report = replace(self.report, id=entry.id)
        self._flight.land(Hit(entry.id, result, HitType.DIRECT, 1.0))
        self._keep(entry)

    def failed(self, error: GatewayError, record: Record) -> None:
        if not record.images and error.kind not in _OWN_FAILURES:
            self._flight.land(error)


def scope_of(caller: Caller, settings: CacheSettings) -> str | None:
    """Whose entries a caller reads and writes; None: nobody's."""
    match caller.kind:
        case CallerKind.VIRTUAL_KEY:
            assert caller.key is not None, "that is what its kind says"
            if caller.key.cache_scope is CacheScope.SHARED:
                return _SHARED
            if caller.key.cache_scope is CacheScope.TEAM and caller.key.team:
                return f"team:{caller.key.team}"
            # Not by its name: the holder of another key of that name is somebody else.
            return f"key:{caller.key.digest.hex()}"
        case CallerKind.DIRECT:
            if not settings.direct_keys:
                return None
            return f"direct:{hashlib.sha256(caller.direct_key.encode('utf-8', 'surrogatepass')).hexdigest()}"
        case CallerKind.TOKEN:
            return _SHARED if settings.share_without_key else f"token:{caller.name}"
        case CallerKind.ANYBODY:
            return _SHARED if settings.share_without_key else "anybody"


def _parameters(
    request: VariationRequest, route: Sequence[str], targets: Sequence[Target], default_prompt: str
) -> Mapping[str, Any]:
    """Everything but the source that decides what a result looks like.

    The response format does not: links are made anew for every answer. Nor does the caller's end user.
    """
    return {
        "route": list(route),
        # Sorted: an alias by weight is drawn anew for every request, and a hit on any of its targets will do.
        "targets": sorted({str(target) for target in targets}),
        "n": request.n,
        "size": str(request.size or "auto"),
        "output_format": request.output_format.value,
        "prompt": request.prompt or default_prompt,
        "strength": request.strength,
        "seed": request.seed,
        "quality": request.quality,
        "background": request.background,
        "provider_options": request.provider_options,
    }


def _with(report: CacheReport, hit: Hit) -> CacheReport:
    return replace(
        report, hit=True, id=hit.id, hit_type=hit.hit_type.value, similarity=hit.similarity, used=hit.result.target
    )


def _is_welcome(hit: Hit, query: Query) -> bool:
    """Whether a hit that another request got is one for this request, too."""
    if hit.hit_type is HitType.DIRECT:
        return True
    return Lookup.SEMANTIC in query.lookup and hit.similarity >= query.threshold


def _again(error: GatewayError) -> GatewayError:
    """The same failure, to be raised for another request."""
    return GatewayError(
        error.kind,
        error.message,
        code=error.code,
        param=error.param,
        retry_after_s=error.retry_after_s,
        upstream_status=error.upstream_status,
        may_have_run=False,
    )
