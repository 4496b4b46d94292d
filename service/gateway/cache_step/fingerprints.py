"""What a source is recognised by: its pixels, and what it looks like."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import Final, TypeVar

from service.cache.keys import pixel_digest
from service.concurrency.pools import MOST_BYTES_AT_ONCE, ImagingPool
from service.concurrency.tasks import started
from service.imaging.decode import decode, flatten
from service.imaging.inspect import ImageLimits, inspect, picture_only
from service.imaging.perceptual_key import PerceptualKey, perceptual_key

Value = TypeVar("Value")

# About 1 KB each.
_MOST_REMEMBERED: Final = 4_096


class Fingerprint:
    """One source's. Made by ``Fingerprints``, for one request. It holds the file, and none of its pixels.

    Attributes:
        pixels: The ``pixel_digest`` of the decoded picture.
        aspect: Its width divided by its height.
    """

    def __init__(self, pixels: bytes, aspect: float, data: bytes, owner: Fingerprints) -> None:
        self.pixels = pixels
        self.aspect = aspect
        self._data = data
        self._owner = owner

    async def look(self) -> PerceptualKey:
        """What the source looks like: known since it was decoded, unless that was long ago."""
        return await self._owner.look_of(self._data, self)


class Fingerprints:
    """Takes fingerprints, and remembers those of files that come again, whatever else is in them besides the picture:
    these are not decoded again."""

    def __init__(self, pool: ImagingPool, limits: ImageLimits) -> None:
        self._pool = pool
        self._limits = limits
        self._remembered: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._looks: OrderedDict[bytes, PerceptualKey] = OrderedDict()
        # By the file's digest, so that the same file sent several times at once is decoded once.
        self._being_taken: dict[bytes, asyncio.Task[tuple[bytes, float]]] = {}

    async def of(self, data: bytes) -> Fingerprint:
        """The fingerprint of an image file.

        Raises:
            GatewayError: INVALID_REQUEST ``invalid_image`` where it cannot be decoded.
        """
        file = await self._pool.run(lambda: self._file_digest(data), at_once=len(data) <= MOST_BYTES_AT_ONCE)
        known = self._remembered.get(file)
        if known is not None:
            self._remembered.move_to_end(file)
            return Fingerprint(*known, data, self)

        taking = self._being_taken.get(file)
        if taking is None:
            taking = self._being_taken[file] = started(self._take(file, data))
            taking.add_done_callback(lambda ended: self._taken(file, ended))
        return Fingerprint(*await asyncio.shield(taking), data, self)

    async def _take(self, file: bytes, data: bytes) -> tuple[bytes, float]:
        def take() -> tuple[bytes, float, PerceptualKey]:
            picture = decode(data, limits=self._limits)
            pixels = picture.array()
            look = perceptual_key(flatten(picture).array() if picture.has_alpha else pixels)
            return pixel_digest(pixels), picture.width / picture.height, look

        # The look costs 2 ms; keeping the pixels until somebody asks for it would cost their memory for as long.
        pixels, aspect, look = await self._pool.run(take)
        _remember(self._remembered, file, (pixels, aspect))
        _remember(self._looks, pixels, look)
        return pixels, aspect

    def _taken(self, file: bytes, ended: asyncio.Task[tuple[bytes, float]]) -> None:
        del self._being_taken[file]
        if not ended.cancelled():
            # Everybody who waited may have left; nobody need hear of a failure then.
            ended.exception()

    def _file_digest(self, data: bytes) -> bytes:
        """The same for files of which ``decode`` makes the same: that looks at the picture and its orientation only."""
        facts = inspect(data, limits=self._limits)
        digest = hashlib.sha256(f"{facts.format.value} {facts.orientation} ".encode())
        digest.update(picture_only(data, facts.format))
        return digest.digest()

    async def look_of(self, data: bytes, taken: Fingerprint) -> PerceptualKey:
        """What the source looks like that has this fingerprint."""
        known = self._looks.get(taken.pixels)
        if known is not None:
            self._looks.move_to_end(taken.pixels)
            return known

        def see() -> PerceptualKey:
            return perceptual_key(flatten(decode(data, limits=self._limits)).array())

        look = await self._pool.run(see)
        _remember(self._looks, taken.pixels, look)
        return look


def _remember(memory: OrderedDict[bytes, Value], key: bytes, value: Value) -> None:
    memory[key] = value
    if len(memory) > _MOST_REMEMBERED:
        memory.popitem(last=False)
