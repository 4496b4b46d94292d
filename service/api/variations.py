"""From the fields of a request to its answer or its stream of events, for every encoding."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from google.protobuf.message import Message

from service.api.cache_headers import cache_directives
from service.api.call import Call
from service.api.call_observer import observed_by
from service.api.calls import Calls, Context, told
from service.api.log_line import hashed
from service.api.rendering import Rendering
from service.api.rest.field_names import query_parameters
from service.api.validation import Fields, checked
from service.concurrency.pools import MOST_BYTES_AT_ONCE, ImagingPool
from service.concurrency.tasks import started
from service.core.errors import ErrorKind, GatewayError
from service.core.values import VariationRequest
from service.gateway.events import Emit, Event, ImageCompleted, VisibleEvent
from service.gateway.gateway import Download, Gateway, RequestContext
from service.gateway.once import OnceRunner, request_digest
from service.gateway.outcome import Outcome
from service.governance.idempotency import Once, once_by_key, once_by_sidecar
from service.governance.load import LoadLimiter, Place

Result = TypeVar("Result")
Answer = TypeVar("Answer")
Piece = TypeVar("Piece")

# Proxies and NATs close a connection on which nothing happens; the least patient wait 15 to 60 seconds.
KEEP_ALIVE_AFTER_S = 10.0
REPLAYED_HEADER = "idempotency-replayed"
# A request at work holds its message, the image in it, and what is sent to the provider; and some state besides.
_COPIES = 3
_REQUEST_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as it came: its size in bytes, and what takes it apart."""

    size: int
    fields: Callable[[], Fields]


class Variations:
    """The way from fields to an answer, shared by the typed methods and the REST door.

    Args:
        pool: Takes large requests apart and puts large answers together, off the event loop.
        load: Bounds what all requests at work hold together.
        downloads: Bounds the downloads of callers' images by URL. While one lasts, its request holds no place in
            ``load``: a host that never answers must not keep others from being served.
        largest_download: Most bytes of one of them.
        once: Does requests with an idempotency key once. None: such keys are not looked at.
    """

    def __init__(
        self,
        gateway: Gateway,
        calls: Calls,
        pool: ImagingPool,
        load: LoadLimiter,
        downloads: LoadLimiter,
        largest_download: int,
        once: OnceRunner | None = None,
    ) -> None:
        self._gateway = gateway
        self._calls = calls
        self._pool = pool
        self._load = load
        self._downloads = downloads
        self._largest_download = largest_download
        self._once = once

    async def create(
        self, method: str, context: Context, incoming: Incoming, rendering: Rendering[Answer, Piece]
    ) -> Answer:
        """Answers when all is done, written by ``rendering``."""

        async def handle(call: Call) -> Answer:
            outcome = await self._work(call, incoming, observed_by(call))
            size = sum(len(image.data) for image in outcome.images)
            answer = await self._apart(size, lambda: rendering.answer(outcome))
            call.bytes_out += _bytes_of(answer)
            return answer

        return await self._calls.unary(method, context, handle)

    def stream(
        self, method: str, context: Context, incoming: Incoming, rendering: Rendering[Answer, Piece]
    ) -> AsyncGenerator[Piece, None]:
        """Sends events as things happen, written by ``rendering``."""

        async def handle(call: Call) -> AsyncGenerator[Piece, None]:
            call.headers |= rendering.stream_headers
            async with contextlib.aclosing(self._events(call, incoming, rendering)) as pieces:
                async for piece in pieces:
                    call.bytes_out += _bytes_of(piece)
                    yield piece

        return self._calls.stream(method, context, handle)

    async def _events(
        self, call: Call, incoming: Incoming, rendering: Rendering[Answer, Piece]
    ) -> AsyncGenerator[Piece, None]:
        events: asyncio.Queue[VisibleEvent | None] = asyncio.Queue()
        begun = False
        # A stream's headers are sent before it is known who makes the images: they name nobody.
        note = observed_by(call, in_headers=False)

        def happened(event: Event) -> None:
            note(event)
            if isinstance(event, VisibleEvent):
                events.put_nowait(event)

        async def work() -> Outcome:
            try:
                return await self._work(call, incoming, happened)
            finally:
                events.put_nowait(None)

        async with _cancelled_at_exit(started(work())) as task:
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_AFTER_S):
                        event = await events.get()
                except TimeoutError:
                    begun = True
                    yield rendering.keep_alive()
                    continue
                if event is None:
                    break
                begun = True
                yield await self._apart(_size_of(event), partial(rendering.event, event))
            try:
                outcome = await task
            except Exception as caught:
                if not (rendering.failure_is_event and begun):
                    raise
                error = told(caught, call)
                call.failed(error)
                yield rendering.failed(error, call.id)
                return
        yield rendering.completed(outcome)

    async def _work(self, call: Call, incoming: Incoming, emit: Emit) -> Outcome:
        """The work on a request, in a place that is given back when it is done, however long its answer is read."""
        call.bytes_in = incoming.size
        async with self._calls.under_way.endable(call):
            async with self._admitted(call, incoming) as place:
                try:
                    request = await self._request(call, incoming)
                except GatewayError:
                    await self._gateway.count_refused(call.caller, emit)
                    raise
                once = await self._to_be_done_once(call, request)
                if once is None or self._once is None:
                    return await self._gateway.create(request, self._request_context(call, incoming, place), emit)
            return await self._work_once(call, incoming, request, once, self._once, emit)

    async def _work_once(
        self, call: Call, incoming: Incoming, request: VariationRequest, once: Once, runner: OnceRunner, emit: Emit
    ) -> Outcome:
        async def work(emit: Emit) -> Outcome:
            # By itself: it goes on where its caller leaves.
            async with self._calls.under_way.endable(call), self._admitted(call, incoming) as place:
                return await self._gateway.create(request, self._request_context(call, incoming, place), emit)

        def replaying() -> None:
            call.headers[REPLAYED_HEADER] = "true"
            call.log["replayed"] = True

        return await runner.create(once, work, emit, replaying)

    async def _to_be_done_once(self, call: Call, request: VariationRequest) -> Once | None:
        if self._once is None or (call.idempotency_key is None and not call.sidecar_attempt):
            return None
        digest = await self._apart(len(request.image), lambda: request_digest(request))
        if call.idempotency_key is not None:
            return once_by_key(call.idempotency_key, call.credential, digest)
        return once_by_sidecar(call.id, call.sidecar_attempt, call.credential, digest)

    def _admitted(self, call: Call, incoming: Incoming) -> contextlib.AbstractAsyncContextManager[Place]:
        return self._load.admitted(call.caller.name, _held(incoming.size))

    def _request_context(self, call: Call, incoming: Incoming, place: Place) -> RequestContext:
        async def downloading(download: Download) -> bytes:
            place.leave()
            async with self._downloads.admitted(call.caller.name, self._largest_download):
                data = await download()
            await place.take(_held(incoming.size + len(data)))
            return data

        return RequestContext(
            deadline=call.work_deadline,
            base_url=call.base_url,
            direct_key=call.caller.direct_key,
            caller=call.caller,
            cache=cache_directives(call.cache_headers),
            downloading=downloading,
        )

    async def _request(self, call: Call, incoming: Incoming) -> VariationRequest:
        if call.content_encoding:
            raise GatewayError(
                ErrorKind.UNSUPPORTED_MEDIA_TYPE,
                f"The body has the content-encoding {call.content_encoding[:40]!r}; send it uncompressed: images are "
                "compressed already.",
                param="content-encoding",
                may_have_run=False,
            )

        def read() -> VariationRequest:
            fields = incoming.fields()
            if call.query:
                fields.warnings = [*fields.warnings, *query_parameters(call.query)]
            return checked(fields, raw=call.raw)

        request = await self._apart(incoming.size, read)
        call.log["model"] = request.model
        if request.user:
            call.log["user"] = hashed(request.user)
        return request

    async def _apart(self, size: int, work: Callable[[], Result]) -> Result:
        """Does work on ``size`` bytes where it holds nobody up."""
        return await self._pool.run(work, at_once=size <= MOST_BYTES_AT_ONCE)


def _bytes_of(message: object) -> int:
    """The length of a message as it is sent."""
    if isinstance(message, bytes):
        return len(message)
    assert isinstance(message, Message), "renderings make bytes or messages"
    return message.ByteSize()


def _size_of(event: VisibleEvent) -> int:
    return len(event.image.data) if isinstance(event, ImageCompleted) else 0


def _held(size: int) -> int:
    """The bytes that a request holds while it is worked on, given those of its message and image."""
    return size * _COPIES + _REQUEST_BYTES


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
