"""Results that a provider hands over as URLs, downloaded while the links still work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from service.concurrency.tasks import started
from service.core.calls import CallResult, ImageProduced, ProducedImage
from service.core.errors import ErrorKind, GatewayError
from service.routing.retry import DownloadState, RetryPolicy, TimeLeft
from service.transport.clock import Clock
from service.transport.upstream import EmitCallEvent, Fetch


async def downloaded(
    result: CallResult,
    fetch: Fetch,
    emit: EmitCallEvent,
    *,
    clock: Clock,
    left: Callable[[], TimeLeft],
    policy: RetryPolicy,
) -> CallResult:
    """The result with the bytes of every image that could be had, each emitted as soon as it is there.

    All are downloaded at once. The images are paid for, so a failed download is tried again, and those that are
    there are returned, with a warning, where others cannot be had.

    Args:
        left: Tells how long the attempt may still go on: downloads have no time beyond it.

    Raises:
        GatewayError: None could be had (the first failure), or the result never held any (BAD_RESPONSE).
    """

    async def complete(position: int, image: ProducedImage) -> ProducedImage:
        if not image.data:
            data = await _fetched(image.url, fetch, clock, left, policy)
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


async def _fetched(url: str, fetch: Fetch, clock: Clock, left: Callable[[], TimeLeft], policy: RetryPolicy) -> bytes:
    state = DownloadState(policy, ends_at=clock.now() + left().seconds)
    while True:
        end = left()
        if end.seconds <= 0:
            raise end.error(may_have_run=True)
        try:
            async with asyncio.timeout(end.seconds):
                return await fetch(url)
        except TimeoutError:
            raise end.error(may_have_run=True) from None
        except GatewayError as error:
            again = state.after(error, clock.now(), draw=clock.draw())
            if again is None:
                raise
            state, wait = again
            await clock.sleep(wait)
