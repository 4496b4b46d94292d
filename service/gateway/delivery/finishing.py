"""The last step: exactly the asked-for size and format, then inline bytes or a link."""

from __future__ import annotations

from service.cache.entries import CachedImage
from service.concurrency.pools import MOST_BYTES_AT_ONCE, ImagingPool
from service.core.calls import ProducedImage
from service.core.values import ResponseFormat, VariationRequest
from service.gateway.delivery.links import Links
from service.gateway.outcome import FinishedImage
from service.gateway.record import Finish
from service.imaging.convert import finish, finish_cost, pass_result
from service.imaging.inspect import ImageLimits


class Finisher:
    """Turns what backends produce into what callers asked for."""

    def __init__(self, pool: ImagingPool, links: Links, limits: ImageLimits) -> None:
        self._pool = pool
        self._links = links
        self._limits = limits

    def bound_to(
        self, request: VariationRequest, base_url: str, holder: str = "", encoded: dict[int, CachedImage] | None = None
    ) -> Finish:
        """The finishing step of one request.

        Args:
            base_url: Where the caller reached us, for links.
            holder: The caller, as the store of results tells callers apart.
            encoded: Where to leave the finished images by their index, for the cache.
        """

        async def finished(index: int, produced: ProducedImage) -> FinishedImage:
            data, size, output_format, limits = produced.data, request.size, request.output_format, self._limits
            image = None
            if len(data) <= MOST_BYTES_AT_ONCE:
                image = pass_result(data, size=size, output_format=output_format, limits=limits)
            if image is None:
                image = await self._pool.run(
                    lambda: finish(data, size=size, output_format=output_format, limits=limits),
                    decoded_bytes=finish_cost(data, size=size, limits=limits),
                )
            cached = CachedImage(image, produced.revised_prompt)
            if encoded is not None:
                encoded[index] = cached
            return await self.delivered(index, cached, request, base_url, holder)

        return finished

    async def delivered(
        self,
        index: int,
        cached: CachedImage,
        request: VariationRequest,
        base_url: str,
        holder: str = "",
        repeated: str = "",
    ) -> FinishedImage:
        """An image as this caller gets it: inline, or as a link made for this answer. Inline as well where it was to be
        a link and cannot be stored: it has been paid for.

        Args:
            repeated: Stands for an image that was delivered before: its file is linked to once more.
        """
        image, revised_prompt = cached.image, cached.revised_prompt
        url = None
        if request.response_format is ResponseFormat.URL:
            url = await self._links.publish(image, base_url, holder=holder, repeated=repeated)
        if url is None:
            return FinishedImage(index, image.size, image.format, data=image.data, revised_prompt=revised_prompt)
        return FinishedImage(index, image.size, image.format, url=url, revised_prompt=revised_prompt)
