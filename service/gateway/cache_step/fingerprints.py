"""The fingerprint that a source is recognised by: its pixels, and what it looks like."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.cache.digests import strips_digest
from service.concurrency.pools import MOST_BYTES_AT_ONCE, ImagingPool
from service.concurrency.tasks import started
from service.core.errors import GatewayError
from service.imaging.decode import decode
from service.imaging.inspect import ImageLimits, decode_cost, inspect, picture_only
from service.imaging.perceptual_key import SIDE, PerceptualKey, perceptual_key
from service.imaging.picture import Picture, VipsImage, strips

# About 1 KB each.
_MOST_REMEMBERED: Final = 4_096


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One picture's.

    Attributes:
        pixels: The ``pixel_digest`` of the decoded picture.
        aspect: Its width divided by its height.
        look: What it looks like.
    """

    pixels: bytes = field(repr=False)
    aspect: float
    look: PerceptualKey


class Fingerprints:
    """Takes fingerprints, and remembers those of files that come again, whatever else is in them besides the picture:
    these are not decoded again.

    A file that comes several times at once is decoded once, and the pixels are gone before anybody waits for a
    provider: a file of a few bytes may hold a picture of hundreds of megabytes.
    """

    def __init__(self, pool: ImagingPool, limits: ImageLimits) -> None:
        self._pool = pool
        self._limits = limits
        self._remembered: OrderedDict[bytes, Fingerprint] = OrderedDict()
        self._being_taken: dict[bytes, asyncio.Task[Fingerprint]] = {}

    async def of(self, data: bytes) -> Fingerprint:
        """The fingerprint of an image file.

        Raises:
            GatewayError: INVALID_REQUEST ``invalid_image`` where it cannot be decoded.
        """
        file = await self._pool.run(lambda: self._file_digest(data), at_once=len(data) <= MOST_BYTES_AT_ONCE)
        known = self._remembered.get(file)
        if known is not None:
            self._remembered.move_to_end(file)
            return known
        taking = self._being_taken.get(file)
        if taking is None:
            taking = self._being_taken[file] = started(self._take(file, data))
            taking.add_done_callback(lambda taken: self._is_taken(file, taken))
        # The first one who asked may leave; the others get it all the same.
        await asyncio.wait([taking])
        try:
            return taking.result()
        except GatewayError as error:
            # One of its own for each of those who waited.
            raise error.replaced() from None

    def _is_taken(self, file: bytes, taken: asyncio.Task[Fingerprint]) -> None:
        del self._being_taken[file]
        if not taken.cancelled():
            # Looked at, even if nobody waits for it any more.
            taken.exception()

    async def _take(self, file: bytes, data: bytes) -> Fingerprint:
        def take() -> Fingerprint:
            return _fingerprint(decode(data, limits=self._limits))

        cost = decode_cost(inspect(data, limits=self._limits), len(data))
        taken = await self._pool.run(take, decoded_bytes=cost)
        self._remembered[file] = taken
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return taken

    def _file_digest(self, data: bytes) -> bytes:
        """The same for files of which ``decode`` makes the same: that looks at the picture and its orientation only."""
        facts = inspect(data, limits=self._limits)
        digest = hashlib.sha256(f"{facts.format.value} {facts.orientation} ".encode())
        digest.update(picture_only(data, facts.format))
        return digest.digest()


def _fingerprint(picture: Picture) -> Fingerprint:
    """The fingerprint of a picture, decoded once, a few rows at a time: it may fill hundreds of megabytes."""
    width, height = picture.width, picture.height
    shape = height, width, 4 if picture.has_alpha else 3

    def seen(image: VipsImage) -> tuple[bytes, npt.NDArray[np.uint8]]:
        narrow: list[npt.NDArray[np.uint8]] = []

        def passing() -> Iterator[npt.NDArray[np.uint8]]:
            for strip in strips(image):
                narrow.append(_narrowed(strip, whole=min(width, height) < SIDE))
                yield strip

        return strips_digest(shape, passing()), np.concatenate(narrow)

    pixels, narrow = picture.write(seen)
    return Fingerprint(pixels, width / height, perceptual_key(narrow))


def _narrowed(strip: npt.NDArray[np.uint8], *, whole: bool) -> npt.NDArray[np.uint8]:
    """Rows on a white ground, narrowed: the first half of reducing the picture, to the last bit.

    Args:
        whole: Whether the picture is so small that it is reduced as a whole.
    """
    image = Image.fromarray(np.ascontiguousarray(strip))
    if image.mode == "RGBA":
        ground = Image.new("RGB", image.size, (255, 255, 255))
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    return np.asarray(image if whole else image.resize((SIDE, image.height), Image.Resampling.BOX))
