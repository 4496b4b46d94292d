"""What a source is recognised by: its pixels, and what it looks like."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final, TypeVar

import numpy as np
from PIL import Image

from service.cache.keys import pixel_digest
from service.concurrency.pools import MOST_BYTES_AT_ONCE, ImagingPool
from service.imaging.decode import decode, flatten
from service.imaging.inspect import ImageLimits, inspect, picture_only
from service.imaging.perceptual_key import PerceptualKey, perceptual_key

Value = TypeVar("Value")

# About 1 KB each.
_MOST_REMEMBERED: Final = 4_096


class Fingerprint:
    """One source's. Made by ``Fingerprints``, for one request.

    Attributes:
        pixels: The ``pixel_digest`` of the decoded picture.
        aspect: Its width divided by its height.
    """

    def __init__(self, pixels: bytes, aspect: float, data: bytes, owner: Fingerprints) -> None:
        self.pixels = pixels
        self.aspect = aspect
        self._data = data
        self._owner = owner
        self._look: PerceptualKey | None = None
        # Kept from the decoding until the look has been asked for.
        self.picture: Image.Image | None = None

    async def look(self) -> PerceptualKey:
        """What the source looks like; takes about 2 ms, the first time."""
        if self._look is None:
            self._look = await self._owner.look_of(self._data, self)
            self.picture = None
        return self._look


class Fingerprints:
    """Takes fingerprints, and remembers those of files that come again, whatever else is in them besides the picture:
    these are not decoded again."""

    def __init__(self, pool: ImagingPool, limits: ImageLimits) -> None:
        self._pool = pool
        self._limits = limits
        self._remembered: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._looks: OrderedDict[bytes, PerceptualKey] = OrderedDict()

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

        def take() -> tuple[bytes, Image.Image]:
            picture = decode(data, limits=self._limits)
            return pixel_digest(np.asarray(picture)), picture

        pixels, picture = await self._pool.run(take)
        aspect = picture.width / picture.height
        _remember(self._remembered, file, (pixels, aspect))
        taken = Fingerprint(pixels, aspect, data, self)
        taken.picture = picture
        return taken

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
        picture = taken.picture

        def see() -> PerceptualKey:
            decoded = decode(data, limits=self._limits) if picture is None else picture
            return perceptual_key(np.asarray(flatten(decoded)))

        look = await self._pool.run(see)
        _remember(self._looks, taken.pixels, look)
        return look


def _remember(memory: OrderedDict[bytes, Value], key: bytes, value: Value) -> None:
    memory[key] = value
    if len(memory) > _MOST_REMEMBERED:
        memory.popitem(last=False)
