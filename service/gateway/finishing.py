"""The last step: exactly the asked-for size and format, then inline bytes or a link."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.cache.entries import CachedImage
from service.core.values import ResponseFormat, VariationRequest
from service.gateway.events import FinishedImage
from service.gateway.links import Links
from service.gateway.record import Finish
from service.imaging.convert import finish, pass_result
from service.imaging.inspect import ImageLimits
from service.providers.base import ProducedImage

Result = TypeVar("Result")

MOST_BYTES_AT_ONCE = 500_000
"""Looking through or copying this many bytes takes a quarter of a millisecond, and so does handing it to a thread."""


class ImagingPool:
    """Threads for decoding and encoding, apart from the engine's, so that quick work never waits for slow."""

    def __init__(self, workers: int) -> None:
        self._executor = ThreadPoolExecutor(workers, "imaging")

    async def run(self, work: Callable[[], Result], *, at_once: bool = False) -> Result:
        """Does ``work`` where it holds nobody up.

        Args:
            at_once: Whether it is so little that handing it over would take longer: then it is done on the spot.
        """
        if at_once:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


class Finisher:
    """Turns what backends produce into what callers asked for."""

    def __init__(self, pool: ImagingPool, links: Links, limits: ImageLimits) -> None:
        self._pool = pool
        self._links = links
        self._limits = limits

    def bound_to(
        self, request: VariationRequest, base_url: str, encoded: dict[int, CachedImage] | None = None
    ) -> Finish:
        """The finishing step of one request.

        Args:
            base_url: Where the caller reached us, for links.
            encoded: Where to leave the finished images by their index, for the cache.
        """

        async def finished(index: int, produced: ProducedImage) -> FinishedImage:
            data, size, output_format, limits = produced.data, request.size, request.output_format, self._limits
            image = None
            if len(data) <= MOST_BYTES_AT_ONCE:
                image = pass_result(data, size=size, output_format=output_format, limits=limits)
            if image is None:
                image = await self._pool.run(
                    lambda: finish(data, size=size, output_format=output_format, limits=limits)
                )
            cached = CachedImage(image, produced.revised_prompt)
            if encoded is not None:
                encoded[index] = cached
            return await self.delivered(index, cached, request, base_url)

        return finished

    async def delivered(
        self, index: int, cached: CachedImage, request: VariationRequest, base_url: str
    ) -> FinishedImage:
        """An image as this caller gets it: inline, or as a link made for this answer."""
        image, revised_prompt = cached.image, cached.revised_prompt
        if request.response_format is ResponseFormat.B64_JSON:
            return FinishedImage(index, image.size, image.format, data=image.data, revised_prompt=revised_prompt)
        url = await self._links.publish(image, base_url)
        return FinishedImage(index, image.size, image.format, url=url, revised_prompt=revised_prompt)
