"""Every test that takes ``store`` runs on SQLite and on a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis_server import RedisServer, own_redis_server, redis_process, redis_server  # noqa: F401

from service.cache.cache_store import Bounds, CacheStore
from service.cache.digests import bucket_digest, direct_digest, pixel_digest
from service.cache.entries import CachedImage, CachedResult, Entry, new_id
from service.cache.redis_cache import RedisCache
from service.cache.sqlite_cache import SqliteCache
from service.core.values import EncodedImage, ImageFormat, Size, Target
from service.imaging.perceptual_key import PerceptualKey

OpenStore = Callable[..., Coroutine[Any, Any, CacheStore]]
MakeEntry = Callable[..., Entry]

ROOMY = Bounds(max_bytes=10**9, max_entries=10**9)


@pytest.fixture(params=["sqlite", "redis"])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens the same store once more, as another replica or the next process would."""
    opened: list[CacheStore] = []
    server: RedisServer | None = request.getfixturevalue("redis_server") if request.param == "redis" else None

    async def open_one(bounds: Bounds = ROOMY) -> CacheStore:
        store: CacheStore
        if server:
            store = RedisCache(server.url, bounds)
        else:
            store = await SqliteCache.open(tmp_path / "state" / "cache.sqlite3", bounds)
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        await store.aclose()


@pytest.fixture
async def store(open_store: OpenStore) -> CacheStore:
    return await open_store()


@pytest.fixture
def make_entry() -> MakeEntry:
    """Makes entries; each picture is told apart by its number."""

    def make(
        picture: int = 0,
        *,
        scope: str = "alice",
        namespace: str = "default",
        parameters: dict[str, Any] | None = None,
        look: PerceptualKey | None = None,
        aspect: float = 1.0,
        images: tuple[bytes, ...] = (b"first image",),
        expires: float = 1_000.0,
    ) -> Entry:
        bucket = bucket_digest(scope, namespace, parameters or {})
        pixels = pixel_digest(np.full((1, 1, 3), picture, np.uint8))
        shown = tuple(
            CachedImage(EncodedImage(data, ImageFormat.PNG, Size(3, 2)), f"prompt {at}")
            for at, data in enumerate(images)
        )
        result = CachedResult(shown, Target("fake", "m"), "m-2026", "high", "opaque", ("The seed was dropped.",))
        look = look or random_look(picture)
        return Entry(new_id(), scope, namespace, bucket, direct_digest(bucket, pixels), look, aspect, result, expires)

    return make


def random_look(seed: int) -> PerceptualKey:
    """A look that is like no other seed's."""
    random = np.random.default_rng(seed)
    colours = random.uniform((10, -60, -60), (90, 60, 60)) + random.normal(0, 12, (64, 3))
    return PerceptualKey(random.bytes(32), colours.astype(np.float32))
