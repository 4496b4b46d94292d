"""Results that a provider hands over as URLs, downloaded while the links still work."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from service.concurrency.tasks import started
from service.core.calls import CallResult, ImageProduced, ProducedImage
from service.core.errors import ErrorKind, GatewayError
from service.routing.backoff import Backoff
from service.transport.clock import Clock
from service.transport.upstream import Emit, Fetch


async def downloaded(
    result: CallResult, fetch: Fetch, emit: Emit, *, clock: Clock, deadline: float, backoff: Backoff, max_retries: int
) -> CallResult:
    """The result with the bytes of every image that could be had, each emitted as soon as it is there.

    All are downloaded at once. The images are paid for, so a failed download is tried again, and those that are
    there are returned, with a warning, where others cannot be had.

    Raises:
        GatewayError: None could be had (the first failure), or the result never held any (BAD_RESPONSE).
    """

    async def complete(position: int, image: ProducedImage) -> ProducedImage:
        if not image.data:
            data = await _fetched(image.url, fetch, clock, deadline, backoff, max_retries)
            image = replace(image, data=data, url="")
        emit(ImageProduced(position, image))
        return image

    if not result.images:
        raise GatewayError(ErrorKind.BAD_RESPONSE, "The provider's answer holds no image.")
    if all(image.data for image in result.images):
        for position, image in enumerate(result.images):
            emit(ImageProduced(position, image))
        return result
    tasks = [started(complete(position, image)) for position, image in enumerate(result.images)]
    try:
        await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()
    failures = [error for task in tasks if isinstance(error := task.exception(), GatewayError)]
    images = tuple(task.result() for task in tasks if not isinstance(task.exception(), GatewayError))
    if not images:
        raise failures[0]
    if not failures:
        return replace(result, images=images)
    warning = f"{len(failures)} of {len(tasks)} results could not be downloaded: {failures[0].message}"
    return replace(result, images=images, warnings=(*result.warnings, warning))


async def _fetched(url: str, fetch: Fetch, clock: Clock, deadline: float, backoff: Backoff, max_retries: int) -> bytes:
    retry = 0
    while True:
        left = deadline - clock.now()
        if left <= 0:
            raise _out_of_time()
        try:
            async with asyncio.timeout(left):
                return await fetch(url)
        except TimeoutError:
            raise _out_of_time() from None
        except GatewayError as error:
            delay = backoff.delay_s(retry, clock.draw(), error.retry_after_s)
            if retry >= max_retries or delay >= deadline - clock.now():
                raise
            retry += 1
            await clock.sleep(delay)


def _out_of_time() -> GatewayError:
    return GatewayError(ErrorKind.DEADLINE_EXCEEDED, "The time ran out while results were downloaded.")
