"""From the fields of a request to its answer or its stream of events, for both encodings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeVar

from imagevariations.v1 import image_variation_pb2 as pb

from service.api.cache_headers import cache_directives
from service.api.call import Call
from service.api.call_observer import observed_by
from service.api.calls import Calls, Context, told
from service.api.convert import (
    completed_message,
    event_message,
    failed_message,
    keep_alive_message,
    response_message,
)
from service.api.log_line import hashed
from service.api.validation import Fields, checked
from service.concurrency.pools import MOST_BYTES_AT_ONCE, ImagingPool
from service.concurrency.tasks import started
from service.core.values import VariationRequest
from service.gateway.events import Event, VisibleEvent
from service.gateway.gateway import Gateway, RequestContext
from service.gateway.outcome import Outcome
from service.governance.load import LoadLimiter

Result = TypeVar("Result")

# Proxies and NATs close a connection on which nothing happens; the least patient wait 15 to 60 seconds.
KEEP_ALIVE_AFTER_S = 10.0


# A request at work holds its message, the image in it, and what is sent to the provider; and some state besides.
_COPIES = 3
_REQUEST_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as it came: its size in bytes, and what takes it apart."""

    size: int
    fields: Callable[[], Fields]


class Variations:
    """What the typed methods and their form twins share: from fields to an answer.

    Args:
        pool: Takes large requests apart and puts large answers together, off the event loop.
        load: Bounds what all requests at work hold together.
    """

    def __init__(self, gateway: Gateway, calls: Calls, pool: ImagingPool, load: LoadLimiter) -> None:
        self._gateway = gateway
        self._calls = calls
        self._pool = pool
        self._load = load

    async def create(self, method: str, context: Context, incoming: Incoming) -> pb.CreateImageVariationResponse:
        async def handle(call: Call) -> pb.CreateImageVariationResponse:
            async with self._admitted(call, incoming):
                request = await self._request(call, incoming)
                outcome = await self._gateway.create(request, _request_context(call), observed_by(call))
                size = sum(len(image.data) for image in outcome.images)
                return await self._apart(size, lambda: response_message(outcome))

        return await self._calls.unary(method, context, handle)

    def stream(
        self, method: str, context: Context, incoming: Incoming
    ) -> AsyncGenerator[pb.StreamImageVariationResponse, None]:
        async def handle(call: Call) -> AsyncGenerator[pb.StreamImageVariationResponse, None]:
            async with self._admitted(call, incoming):
                request = await self._request(call, incoming)
                async with contextlib.aclosing(self._events(call, request)) as messages:
                    async for message in messages:
                        yield message

        return self._calls.stream(method, context, handle)

    async def _events(
        self, call: Call, request: VariationRequest
    ) -> AsyncGenerator[pb.StreamImageVariationResponse, None]:
        messages: asyncio.Queue[pb.StreamImageVariationResponse | None] = asyncio.Queue()
        begun = False
        note = observed_by(call)

        def happened(event: Event) -> None:
            note(event)
            if isinstance(event, VisibleEvent):
                messages.put_nowait(event_message(event))

        async def work() -> Outcome:
            try:
                return await self._gateway.create(request, _request_context(call), happened)
            finally:
                messages.put_nowait(None)

        async with _cancelled_at_exit(started(work())) as task:
            # Envoy would make an event with data of it, where Server-Sent Events have comments.
            silence_s = None if call.transcoded else KEEP_ALIVE_AFTER_S
            while (message := await _soon(messages, silence_s)) is not None:
                begun = True
                yield message
            try:
                outcome = await task
            except Exception as caught:
                # Server-Sent Events have sent their status by now; native clients still get theirs.
                if not (call.transcoded and begun):
                    raise
                error = told(caught, call)
                call.failed(error)
                yield failed_message(error, call.id)
                return
        yield completed_message(outcome)

    async def _request(self, call: Call, incoming: Incoming) -> VariationRequest:
        request = await self._apart(incoming.size, lambda: checked(incoming.fields(), raw=call.raw))
        call.log["model"] = request.model
        if request.user:
            call.log["user"] = hashed(request.user)
        return request

    async def _apart(self, size: int, work: Callable[[], Result]) -> Result:
        """Does work on ``size`` bytes where it holds nobody up."""
        return await self._pool.run(work, at_once=size <= MOST_BYTES_AT_ONCE)

    def _admitted(self, call: Call, incoming: Incoming) -> contextlib.AbstractAsyncContextManager[None]:
        """A place among the requests at work, before anything of the request is read."""
        return self._load.admitted(call.caller.name, incoming.size * _COPIES + _REQUEST_BYTES)


async def _soon(
    messages: asyncio.Queue[pb.StreamImageVariationResponse | None], silence_s: float | None
) -> pb.StreamImageVariationResponse | None:
    """The next message, or a sign of life where there is none for that long. None: there are no more."""
    try:
        async with asyncio.timeout(silence_s):
            return await messages.get()
    except TimeoutError:
        return keep_alive_message()


def _request_context(call: Call) -> RequestContext:
    return RequestContext(
        deadline=call.work_deadline,
        base_url=call.base_url,
        direct_key=call.caller.direct_key,
        caller=call.caller,
        cache=cache_directives(call.cache_headers),
    )


@contextlib.asynccontextmanager
async def _cancelled_at_exit(task: asyncio.Task[Outcome]) -> AsyncIterator[asyncio.Task[Outcome]]:
    """A task that does not outlive the block, however it is left."""
    try:
        yield task
    finally:
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
