"""Looks results up, first by the source's pixels, then by what it looks like."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum, Flag, auto
from typing import Final

from service.cache.cache_store import START, CacheStore, Summary
from service.cache.entries import CachedResult, Entry
from service.cache.near_index import Candidate, NearIndex
from service.cache.sketches import Neighbourhood
from service.concurrency.tasks import Background
from service.imaging.perceptual_key import PerceptualKey, same_colours
from service.storage.errors import StorageError

log = logging.getLogger("service.cache")

KEY_BITS: Final = 256
# A stretched picture has the look of the original, but results in its proportions are no use for it.
_MOST_STRETCHED: Final = 1.1
# Comparing so many looks takes about 0.2 ms; more are compared on another thread.
_MOST_ROWS_ON_THE_LOOP: Final = 30_000
_CANDIDATES_AT_A_TIME: Final = 16
# An index of entries that are mostly gone is loaded anew.
_MOST_STALE_SHARE: Final = 0.5
_SMALLEST_STALE: Final = 10_000


class Lookup(Flag):
    """Ways to look a result up."""

    DIRECT = auto()
    SEMANTIC = auto()
    BOTH = DIRECT | SEMANTIC


class HitType(Enum):
    """The way in which an entry was found."""

    DIRECT = "direct"
    """By the same pixels."""
    SEMANTIC = "semantic"
    """By nearly the same picture."""


@dataclass(frozen=True, slots=True)
class Query:
    """A look-up.

    Attributes:
        bucket, direct: As ``digests`` makes them.
        lookup: In which ways.
        threshold: The least similarity of a semantic hit: 1 less the share of the look's bits that differ.
        aspect: The source's width divided by its height.
        look: What the source looks like.
    """

    bucket: bytes = field(repr=False)
    direct: bytes = field(repr=False)
    lookup: Lookup
    threshold: float
    aspect: float
    look: PerceptualKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Hit:
    """A result that may be served. ``similarity`` is 1 for a direct hit."""

    id: str
    result: CachedResult
    hit_type: HitType
    similarity: float


class ResultCache:
    """One instance serves the whole process. A store that is away makes every look-up a miss, and loses what is kept.

    Args:
        now: Unix time in seconds.
    """

    def __init__(self, store: CacheStore, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self._index = NearIndex()
        self._position = START
        self._following = asyncio.Lock()
        self._background = Background("merging of the cache index")
        self._merging: asyncio.Task[None] | None = None
        # Entries that are in the index but no longer in the store; forgotten when the index is loaded anew.
        self._gone: set[str] = set()
        # Two: a search must not wait until a merge is done.
        self._threads = ThreadPoolExecutor(2, "cache-index")

    async def open(self) -> None:
        """Loads the index: about a second for a million entries.

        Raises:
            StorageError: The store cannot be used. It may be later on: look-ups try to load it again.
        """
        await self._follow()
        await self._merged()

    async def look_up(self, query: Query) -> Hit | None:
        """The result for the same pixels or else, exactly, the nearest one within the threshold; None: there is none.

        Whatever was kept before this was called, by any replica, is found.
        """
        try:
            if Lookup.DIRECT in query.lookup:
                found = await self._store.find(query.direct, self._now())
                if found is not None:
                    return Hit(found.id, found.result, HitType.DIRECT, 1.0)
            if Lookup.SEMANTIC in query.lookup:
                return await self._nearest(query)
        except StorageError as error:
            log.warning("look-up", extra={"fields": {"error": str(error)}})
        return None

    async def keep(self, entry: Entry) -> bool:
        """Keeps an entry, in place of any other for the same request; whether that succeeded."""
        try:
            return await self._store.put(entry, self._now())
        except StorageError as error:
            log.warning("keep", extra={"fields": {"error": str(error)}})
            return False

    async def delete(self, entry_id: str, scope: str) -> bool:
        """Removes an entry if it is of this scope; whether there was one.

        Raises:
            StorageError: The store is away.
        """
        return await self._store.delete(entry_id, scope)

    async def delete_namespace(self, scope: str, namespace: str) -> int:
        """Removes a namespace of a scope; returns how many entries that were.

        Raises:
            StorageError: The store is away.
        """
        return await self._store.delete_namespace(scope, namespace)

    async def sweep(self) -> None:
        """Removes what has expired or is beyond the bounds. To be called once a minute or so.

        Raises:
            StorageError: The store is away.
        """
        await self._store.sweep(self._now())
        kept = await self._store.count()
        if len(self._index) - kept > max(_SMALLEST_STALE, _MOST_STALE_SHARE * kept):
            async with self._following:
                await self._merged()
                self._index, self._position = NearIndex(), START
                self._gone.clear()
            await self._follow()

    async def aclose(self) -> None:
        """Closes the store, too."""
        await self._merged()
        self._threads.shutdown(wait=False)
        await self._store.aclose()

    async def _nearest(self, query: Query) -> Hit | None:
        await self._follow()
        # Rounded, or a threshold that was written as the similarity of a distance would miss that distance.
        most_different = int(round((1 - query.threshold) * KEY_BITS, 6))
        search = self._index.search(Neighbourhood.of(query.bucket, query.look), most_different)
        if search.rows > _MOST_ROWS_ON_THE_LOOP:
            candidates = await asyncio.get_running_loop().run_in_executor(self._threads, search.run)
        else:
            candidates = search.run()
        # An entry stored twice, or found by two replicas at once, may be in the index twice.
        left = list(dict.fromkeys(each for each in candidates if each.id not in self._gone))
        for first in range(0, len(left), _CANDIDATES_AT_A_TIME):
            some = left[first : first + _CANDIDATES_AT_A_TIME]
            hit = await self._first_hit(some, query)
            if hit is not None:
                return hit
        return None

    async def _first_hit(self, candidates: list[Candidate], query: Query) -> Hit | None:
        summaries = await self._store.summaries([each.id for each in candidates], self._now())
        for candidate in candidates:
            summary = summaries.get(candidate.id)
            if summary is None:
                self._gone.add(candidate.id)
            elif _is_hit(summary, query):
                found = await self._store.read(candidate.id, self._now())
                if found is not None:
                    similarity = 1 - candidate.hamming / KEY_BITS
                    return Hit(found.id, found.result, HitType.SEMANTIC, similarity)
        return None

    async def _follow(self) -> None:
        """Brings the index up to what the store holds now."""
        async with self._following:
            more = True
            while more:
                added = await self._store.additions(self._position)
                if added.anew:
                    await self._merged()
                    self._index = NearIndex()
                    self._gone.clear()
                self._index.extend(added.sketches)
                self._position, more = added.until, added.more
            self._merge_if_due()

    def _merge_if_due(self) -> None:
        merge = self._index.due_merge() if self._merging is None else None
        if merge is None:
            return

        async def work() -> None:
            try:
                block = await asyncio.get_running_loop().run_in_executor(self._threads, merge.build)
                self._index.adopt(merge, block)
            finally:
                self._merging = None

        self._merging = self._background.start(work())

    async def _merged(self) -> None:
        """Waits for the merge that is under way, if one is."""
        if self._merging is not None:
            await asyncio.wait([self._merging])


def _is_hit(summary: Summary, query: Query) -> bool:
    stretched = max(summary.aspect, query.aspect) / min(summary.aspect, query.aspect)
    return summary.bucket == query.bucket and stretched <= _MOST_STRETCHED and same_colours(summary.look, query.look)
