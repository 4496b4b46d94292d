"""The cache that any number of replicas share: one Redis or Valkey server."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from service.cache import redis_scripts as scripts
from service.cache.cache_store import START, Additions, Bounds, CacheStore, Position, Summary
from service.cache.entries import Entry, StoredResult, dump, parse
from service.cache.sketches import SKETCH, sketch
from service.imaging.perceptual_key import PerceptualKey
from service.storage.errors import StorageError
from service.storage.redis import RedisServer, Script, answer

# The number is that of the layout of what is kept: another version never reads this one's.
_PREFIX: Final = "image-variations:cache:1:"
# Results of many megabytes take a little longer than other answers.
_LONGEST_WAIT_S: Final = 2.0
# A script holds everybody up: this many take about 2 ms.
_MOST_ADDITIONS: Final = 5_000
_MOST_REMOVED: Final = 200


class RedisCache(CacheStore):
    """Connects when it is first used, and again whenever it has to.

    Images are held by the server, in memory: its ``maxmemory`` should be well above the bound, without eviction.

    Args:
        url: As for ``RedisServer``. In a cluster, one of its servers holds the whole cache.

    Raises:
        ValueError: It is not such a URL.
    """

    def __init__(self, url: str, bounds: Bounds) -> None:
        self._server = RedisServer(url, longest_wait_s=_LONGEST_WAIT_S, decodes=False)
        self._bounds = bounds
        # In a cluster the part in braces decides the server: the whole cache is on one.
        self._prefix = f"{{{_PREFIX}}}" if self._server.clustered else _PREFIX

    async def find(self, direct: bytes, now: float) -> StoredResult | None:
        return await self._entry(direct.hex(), "", now)

    async def read(self, entry_id: str, now: float) -> StoredResult | None:
        return await self._entry("", entry_id, now)

    async def additions(self, since: Position) -> Additions:
        life, number, count, sketches = await self._run(
            scripts.ADDITIONS, since.life, since.number, secrets.token_hex(16), _MOST_ADDITIONS
        )
        if len(sketches) != count * SKETCH.itemsize:
            raise StorageError("Redis holds something else under our keys")
        until = Position(life, int(float(number)))
        anew = life != since.life and since != START
        return Additions(sketches, until, more=count == _MOST_ADDITIONS, anew=anew)

    async def summaries(self, entry_ids: Sequence[str], now: float) -> Mapping[str, Summary]:
        async with self._server.reached(self._prefix) as client:
            pipeline: Any = client.pipeline(transaction=False)
            for entry_id in entry_ids:
                pipeline.hmget(f"{self._prefix}entry:{entry_id}", "expires", "bucket", "look", "layout", "aspect")
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
            scripts.PUT,
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
        return bool(await self._run(scripts.DELETE, entry_id, scope))

    async def delete_namespace(self, scope: str, namespace: str) -> int:
        return await self._repeatedly(scripts.DELETE_SPACE, _space(scope, namespace), _MOST_REMOVED)

    async def sweep(self, now: float) -> int:
        bounds = self._bounds
        return await self._repeatedly(scripts.SWEEP, repr(now), bounds.max_bytes, bounds.max_entries, _MOST_REMOVED)

    async def count(self) -> int:
        async with self._server.reached(self._prefix) as client:
            return int(await answer(client.zcard(f"{self._prefix}use")))

    async def aclose(self) -> None:
        await self._server.aclose()

    async def _entry(self, direct: str, entry_id: str, now: float) -> StoredResult | None:
        fields = await self._run(scripts.READ, direct, entry_id, repr(now))
        if not fields:
            return None
        entry = dict(zip(fields[::2], fields[1::2], strict=True))
        images: list[bytes] = []
        while (data := entry.get(_image(len(images)).encode())) is not None:
            images.append(data)
        try:
            return StoredResult(entry[b"id"].decode(), parse(entry[b"about"], images))
        except (KeyError, ValueError) as error:
            raise StorageError(f"an entry cannot be read: {error}") from None

    async def _repeatedly(self, script: Script, *arguments: str | bytes | int) -> int:
        """Runs a script that removes until it removes nothing more."""
        total = 0
        while removed := int(await self._run(script, *arguments)):
            total += removed
        return total

    async def _run(self, script: Script, *arguments: str | bytes | int) -> Any:
        return await self._server.run(script, [self._prefix], arguments)


def _image(position: int) -> str:
    return f"image:{position}"


def _space(scope: str, namespace: str) -> str:
    """One word for a scope's namespace, whatever characters these have."""
    return hashlib.sha256(f"{len(scope)}:{scope}{namespace}".encode("utf-8", "surrogatepass")).hexdigest()
