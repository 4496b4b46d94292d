"""The last step: exactly the asked-for size and format, then inline bytes or a link."""

from __future__ import annotations

from service.cache.entries import CachedImage
from service.concurrency.pools import MOST_BYTES_AT_ONCE, ImagingPool
from service.core.calls import ProducedImage
from service.core.values import EncodedImage, Provenance, ResponseFormat, VariationRequest
from service.gateway.delivery.links import Links
from service.gateway.outcome import FinishedImage
from service.gateway.record import Finish
from service.imaging.convert import Wish, finish_cost, pass_result, remake_result
from service.imaging.inspect import ImageLimits
from service.imaging.marking import Marker
from service.imaging.resize import Detector


class Finisher:
    """Turns what backends produce into what callers asked for.

    Args:
        detector: Finds what a crop should keep. None: it goes by contours.
        marker: Makes files say how their pictures came to be. None: they say it unsigned.
    """

    def __init__(
        self,
        pool: ImagingPool,
        links: Links,
        limits: ImageLimits,
        detector: Detector | None = None,
        marker: Marker | None = None,
    ) -> None:
        self._pool = pool
        self._links = links
        self._limits = limits
        self._detector = detector
        self._marker = marker or Marker()

    def bound_to(
        self, request: VariationRequest, base_url: str, holder: str = "", encoded: dict[int, CachedImage] | None = None
    ) -> Finish:
        """The finishing step of one request.

        Args:
            base_url: Where the caller reached us, for links.
            holder: The caller, as the store of results tells callers apart.
            encoded: Where to leave the finished images by their index, for the cache.
        """

        wish = Wish(
            size=request.size,
            format=request.output_format,
            fit=request.fit,
            ground=request.fit_ground,
            compression=request.output_compression,
            transparent=request.background == "transparent",
        )

        async def finished(index: int, produced: ProducedImage) -> FinishedImage:
            image, provenance = await self._made(produced.data, wish)
            cached = CachedImage(image, produced.revised_prompt, provenance)
            if encoded is not None:
                encoded[index] = cached
            return await self.delivered(index, cached, request, base_url, holder)

        return finished

    async def _made(self, data: bytes, wish: Wish) -> tuple[EncodedImage, Provenance]:
        """A file as wished, which says how its picture came to be; off the event loop where that takes time."""
        limits, marker = self._limits, self._marker
        looked_at = len(data) <= MOST_BYTES_AT_ONCE
        if looked_at:
            passed = pass_result(data, wish, limits=limits)
            if passed is not None:
                return await self._pool.run(
                    lambda: marker.marked(data, passed, passed=True), at_once=not marker.takes_time(data, passed)
                )

        def made() -> tuple[EncodedImage, Provenance]:
            passed = None if looked_at else pass_result(data, wish, limits=limits)
            if passed is not None:
                return marker.marked(data, passed, passed=True)
            image = remake_result(data, wish, limits=limits, detector=self._detector)
            return marker.marked(data, image, passed=False)

        return await self._pool.run(made, decoded_bytes=finish_cost(data, size=wish.size, limits=limits))

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
        image = cached.image
        url = None
        if request.response_format is ResponseFormat.URL:
            url = await self._links.publish(image, base_url, holder=holder, repeated=repeated)
        return FinishedImage(
            index,
            image.size,
            image.format,
            data=image.data if url is None else b"",
            url=url or "",
            revised_prompt=cached.revised_prompt,
            provenance=cached.provenance,
        )
