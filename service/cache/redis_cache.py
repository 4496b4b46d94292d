"""The cache that any number of replicas share: one Redis or Valkey server."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.cache import redis_scripts as scripts
from service.cache.entries import Entry, StoredResult, dump, parse
from service.cache.sketches import SKETCH, sketch
from service.cache.store import START, Additions, Bounds, CacheStore, Position, Summary
from service.imaging.perceptual_key import PerceptualKey
from service.storage.errors import StorageError

# The number is that of the layout of what is kept: another version never reads this one's.
_PREFIX: Final = "image-variations:cache:1:"
_MOST_CONNECTIONS: Final = 64
_CONNECT_TIMEOUT_S: Final = 1.0
# A server in the same network answers within milliseconds; results of many megabytes take a little longer.
_LONGEST_WAIT_S: Final = 2.0
# A script holds everybody up: this many take about 2 ms.
_MOST_ADDITIONS: Final = 5_000
_MOST_REMOVED: Final = 200


class RedisCache(CacheStore):
    """Connects when it is first used, and again whenever it has to.

    Images are held by the server, in memory: its ``maxmemory`` should be well above the bound, without eviction.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user, password and database number if need be.

    Raises:
        ValueError: It is not such a URL.
    """

    def __init__(self, url: str, bounds: Bounds) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_MOST_CONNECTIONS,
            timeout=_LONGEST_WAIT_S,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            socket_timeout=_LONGEST_WAIT_S,
            # Once, and at once: a connection from before the server's restart fails the first time it is used.
            retry=Retry(NoBackoff(), 1),
        )
        self._redis: Redis = Redis.from_pool(pool)
        self._bounds = bounds
        self._read = self._redis.register_script(scripts.READ)
        self._additions = self._redis.register_script(scripts.ADDITIONS)
        self._put = self._redis.register_script(scripts.PUT)
        self._delete = self._redis.register_script(scripts.DELETE)
        self._delete_space = self._redis.register_script(scripts.DELETE_SPACE)
        self._sweep = self._redis.register_script(scripts.SWEEP)

    async def find(self, direct: bytes, now: float) -> StoredResult | None:
        return await self._entry(direct.hex(), "", now)

    async def read(self, entry_id: str, now: float) -> StoredResult | None:
        return await self._entry("", entry_id, now)

    async def additions(self, since: Position) -> Additions:
        life, number, count, sketches = await self._run(
            self._additions, since.life, since.number, secrets.token_hex(16), _MOST_ADDITIONS
        )
        if len(sketches) != count * SKETCH.itemsize:
            raise StorageError("Redis holds something else under our keys")
        until = Position(life, int(float(number)))
        anew = life != since.life and since != START
        return Additions(sketches, until, more=count == _MOST_ADDITIONS, anew=anew)

    async def summaries(self, entry_ids: Sequence[str], now: float) -> Mapping[str, Summary]:
        async with _guarded():
            pipeline: Any = self._redis.pipeline(transaction=False)
            for entry_id in entry_ids:
                pipeline.hmget(f"{_PREFIX}entry:{entry_id}", "expires", "bucket", "look", "layout", "aspect")
            rows = await pipeline.execute()
        found = {}
        for entry_id, (expires, bucket, look, layout, aspect) in zip(entry_ids, rows, strict=True):
            if expires is not None and float(expires) > now:
                colours = np.frombuffer(layout, "<f4").reshape(-1, 3)
                found[entry_id] = Summary(bucket, PerceptualKey(look, colours), float(aspect))
        return found

    async def put(self, entry: Entry, now: float) -> bool:
        if entry.size > self._bounds.max_bytes:
            return False
        fields: dict[str, str | bytes] = {
            "scope": entry.scope,
            "bucket": entry.bucket,
            "look": entry.look.key,
            "layout": entry.look.layout.astype("<f4").tobytes(),
            "aspect": repr(entry.aspect),
            "about": dump(entry.result),
            **{_image(position): each.image.data for position, each in enumerate(entry.result.images)},
        }
        await self._run(
            self._put,
            entry.id,
            entry.direct.hex(),
            _space(entry.scope, entry.namespace),
            sketch(entry.id, entry.bucket, entry.look),
            entry.size,
            repr(entry.expires),
            repr(now),
            self._bounds.max_bytes,
            self._bounds.max_entries,
            *(part for field in fields.items() for part in field),
        )
        return True

    async def delete(self, entry_id: str, scope: str) -> bool:
        return bool(await self._run(self._delete, entry_id, scope))

    async def delete_namespace(self, scope: str, namespace: str) -> int:
        return await self._repeatedly(self._delete_space, _space(scope, namespace), _MOST_REMOVED)

    async def sweep(self, now: float) -> int:
        bounds = self._bounds
        return await self._repeatedly(self._sweep, repr(now), bounds.max_bytes, bounds.max_entries, _MOST_REMOVED)

    async def count(self) -> int:
        async with _guarded():
            return int(await _answer(self._redis.zcard(f"{_PREFIX}use")))

    async def aclose(self) -> None:
        with contextlib.suppress(StorageError):
            async with _guarded():
                await self._redis.aclose()

    async def _entry(self, direct: str, entry_id: str, now: float) -> StoredResult | None:
        answer = await self._run(self._read, direct, entry_id, repr(now))
        if not answer:
            return None
        entry = dict(zip(answer[::2], answer[1::2], strict=True))
        images: list[bytes] = []
        while (data := entry.get(_image(len(images)).encode())) is not None:
            images.append(data)
        try:
            return StoredResult(entry[b"id"].decode(), parse(entry[b"about"], images))
        except (KeyError, ValueError) as error:
            raise StorageError(f"an entry cannot be read: {error}") from None

    async def _repeatedly(self, script: Any, *arguments: str | bytes | int) -> int:
        """Runs a script that removes until it removes nothing more."""
        total = 0
        while removed := int(await self._run(script, *arguments)):
            total += removed
        return total

    async def _run(self, script: Any, *arguments: str | bytes | int) -> Any:
        async with _guarded():
            return await script(keys=[_PREFIX], args=arguments)


def _image(position: int) -> str:
    return f"image:{position}"


def _space(scope: str, namespace: str) -> str:
    """One word for a scope's namespace, whatever characters these have."""
    return hashlib.sha256(f"{len(scope)}:{scope}{namespace}".encode("utf-8", "surrogatepass")).hexdigest()


async def _answer(command: Any) -> Any:
    """What a command returns. The client's annotations leave open whether it is awaited."""
    return await command


@contextlib.asynccontextmanager
async def _guarded() -> AsyncIterator[None]:
    """Turns every way in which a server can be away into a StorageError, soon."""
    try:
        async with asyncio.timeout(_LONGEST_WAIT_S):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        # Not the message: it may hold the address with the password in it.
        raise StorageError(f"Redis cannot be used: {type(error).__name__}") from error
