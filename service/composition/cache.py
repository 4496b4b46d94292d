"""From configuration to the result cache, opened and kept within its bounds."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from service.cache.cache import ResultCache
from service.cache.cache_store import Bounds, CacheStore
from service.concurrency.pools import ImagingPool
from service.concurrency.tasks import repeating
from service.config import Config
from service.gateway.cache_step.fingerprints import Fingerprints
from service.gateway.cache_step.step import Caching
from service.gateway.cache_step.terms import CacheSettings
from service.imaging.inspect import ImageLimits
from service.storage.errors import StorageError

log = logging.getLogger("service.cache")

SWEEP_EVERY_S = 60.0


@contextlib.asynccontextmanager
async def opened_cache(config: Config, pool: ImagingPool, limits: ImageLimits) -> AsyncIterator[Caching | None]:
    """The cache, swept once a minute; in the end what is being kept is kept, then the store closed. None: it is off.

    Raises:
        SystemExit: The store cannot be used. A Redis server need not be there yet.
    """
    if not config.cache.enabled:
        yield None
        return
    cache = ResultCache(await _open_store(config))
    try:
        await cache.open()
    except StorageError as error:
        # Requests are served without it; as soon as it is back, with it.
        log.warning("open", extra={"fields": {"error": str(error)}})
    caching = Caching(cache, Fingerprints(pool, limits), _settings(config))
    try:
        async with repeating(lambda: _sweep(cache), name="removal of expired cache entries", every_s=SWEEP_EVERY_S):
            yield caching
    finally:
        await caching.settled()
        await cache.aclose()


def _settings(config: Config) -> CacheSettings:
    return CacheSettings(
        threshold=config.cache.threshold,
        ttl_s=config.cache.ttl,
        default_prompt=config.default_prompt,
        share_without_key=config.cache.scope == "shared",
        similar_when_shared=config.cache.similar_when_shared,
        direct_keys=config.cache.direct_keys,
    )


async def _open_store(config: Config) -> CacheStore:
    bounds = Bounds(config.cache.max_bytes, config.cache.max_entries)
    location = config.cache_location
    try:
        if isinstance(location, Path):
            from service.cache.sqlite_cache import SqliteCache

            return await SqliteCache.open(location, bounds)
        # Imported only where it is wanted: it takes longer than all else here.
        from service.cache.redis_cache import RedisCache

        return RedisCache(location, bounds)
    except (StorageError, ValueError) as error:
        # The URL may hold a password, and libraries quote what they cannot read.
        reason = str(error) if isinstance(error, StorageError) else "it is not a URL that Redis clients understand"
        raise SystemExit(f"cache.store cannot be used: {reason}.") from None


async def _sweep(cache: ResultCache) -> None:
    try:
        await cache.sweep()
    except StorageError as error:
        log.warning("sweep", extra={"fields": {"error": str(error)}})
