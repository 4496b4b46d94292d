"""From the fields of a request to its answer or its stream of events, for both encodings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
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
    response_message,
)
from service.api.log_line import hashed
from service.api.validation import Fields, checked
from service.concurrency.pools import MOST_BYTES_AT_ONCE, ImagingPool
from service.concurrency.tasks import started
from service.core.errors import ErrorKind, GatewayError
from service.core.values import VariationRequest
from service.gateway.events import Event, VisibleEvent
from service.gateway.gateway import Gateway, RequestContext
from service.gateway.outcome import Outcome

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as it came: its size in bytes, and what takes it apart."""

    size: int
    fields: Callable[[], Fields]


class Variations:
    """What the typed methods and their form twins share: from fields to an answer.

    Args:
        pool: Takes large requests apart and puts large answers together, off the event loop.
        most_at_a_time: Requests that are worked on side by side; further ones are refused. None: no limit.
    """

    def __init__(self, gateway: Gateway, calls: Calls, pool: ImagingPool, *, most_at_a_time: int | None = None) -> None:
        self._gateway = gateway
        self._calls = calls
        self._pool = pool
        self._most_at_a_time = most_at_a_time
        self._at_work = 0

    async def create(self, method: str, context: Context, incoming: Incoming) -> pb.CreateImageVariationResponse:
        async def handle(call: Call) -> pb.CreateImageVariationResponse:
            with self._place():
                request = await self._request(call, incoming)
                outcome = await self._gateway.create(request, _request_context(call), observed_by(call))
                size = sum(len(image.data) for image in outcome.images)
                return await self._apart(size, lambda: response_message(outcome))

        return await self._calls.unary(method, context, handle)

    def stream(
        self, method: str, context: Context, incoming: Incoming
    ) -> AsyncGenerator[pb.StreamImageVariationResponse, None]:
        async def handle(call: Call) -> AsyncGenerator[pb.StreamImageVariationResponse, None]:
            with self._place():
                request = await self._request(call, incoming)
                async with contextlib.aclosing(self._events(call, request)) as messages:
                    async for message in messages:
                        yield message

        return self._calls.stream(method, context, handle)

    async def _events(
        self, call: Call, request: VariationRequest
    ) -> AsyncGenerator[pb.StreamImageVariationResponse, None]:
        events: asyncio.Queue[VisibleEvent | None] = asyncio.Queue()
        begun = False
        note = observed_by(call)

        def happened(event: Event) -> None:
            note(event)
            if isinstance(event, VisibleEvent):
                events.put_nowait(event)

        async def work() -> Outcome:
            try:
                return await self._gateway.create(request, _request_context(call), happened)
            finally:
                events.put_nowait(None)

        async with _cancelled_at_exit(started(work())) as task:
            while (event := await events.get()) is not None:
                begun = True
                yield event_message(event)
            try:
                outcome = await task
            except Exception as caught:
                # Server-Sent Events have sent their status by now; native clients still get theirs.
                if not (call.transcoded and begun):
                    raise
                error = told(caught, call)
                call.failed(error)
                yield failed_message(error)
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

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self._most_at_a_time is not None and self._at_work >= self._most_at_a_time:
            raise GatewayError(
                ErrorKind.RATE_LIMITED,
                f"{self._at_work} requests are being worked on, which is as many as this gateway takes at a time.",
                code="too_many_requests",
                retry_after_s=1.0,
            )
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1


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
