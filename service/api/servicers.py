"""The RPC methods: thin, each says which values go in and which come out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from google.api import httpbody_pb2
from imagevariations.v1 import (
    image_file_service_pb2,
    model_service_pb2,
)
from imagevariations.v1 import image_variation_pb2 as pb

from service.api.cache_headers import cache_wishes
from service.api.calls import Call, Calls, Context, hashed, told
from service.api.convert import (
    completed_message,
    event_message,
    failed_message,
    fields_from_message,
    keep_alive_message,
    models_message,
    response_message,
)
from service.api.form import parse_form
from service.api.unread import Unread
from service.api.validation import Fields, checked
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Target, VariationRequest
from service.gateway.directory import Directory
from service.gateway.events import AttemptStarted, CacheConsulted, Emit, Event, Outcome
from service.gateway.finishing import MOST_BYTES_AT_ONCE, ImagingPool
from service.gateway.gateway import Gateway, Surroundings
from service.gateway.links import Links
from service.governance.rates import Standing

Result = TypeVar("Result")

# Proxies and NATs close a connection on which nothing happens; the least patient wait 15 to 60 seconds.
KEEP_ALIVE_AFTER_S = 10.0


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
                outcome = await self._gateway.create(request, _surroundings(call), _noting(call))
                _tell(call, outcome)
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
        messages: asyncio.Queue[pb.StreamImageVariationResponse | None] = asyncio.Queue()
        begun = False
        note = _noting(call)
        making: Target | None = None

        def happened(event: Event) -> None:
            nonlocal making
            note(event)
            if isinstance(event, AttemptStarted | CacheConsulted):
                making = event.target
            if not isinstance(event, CacheConsulted):
                messages.put_nowait(event_message(event, making))

        async def work() -> Outcome:
            try:
                return await self._gateway.create(request, _surroundings(call), happened)
            finally:
                messages.put_nowait(None)

        async with _cancelled_at_exit(asyncio.create_task(work())) as task:
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
        _tell(call, outcome)
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


class ImageVariationServicer:
    """Typed requests: native gRPC, and JSON through Envoy."""

    def __init__(self, variations: Variations) -> None:
        self._variations = variations

    async def CreateImageVariation(  # noqa: N802
        self, request: Unread[pb.CreateImageVariationRequest], context: Context
    ) -> pb.CreateImageVariationResponse:
        return await self._variations.create("CreateImageVariation", context, _typed(request))

    async def StreamImageVariation(  # noqa: N802
        self, request: Unread[pb.CreateImageVariationRequest], context: Context
    ) -> AsyncIterator[pb.StreamImageVariationResponse]:
        # gRPC takes a method for a streaming one only if it is an async generator itself.
        async with contextlib.aclosing(
            self._variations.stream("StreamImageVariation", context, _typed(request))
        ) as messages:
            async for message in messages:
                yield message


class ImageVariationFormServicer:
    """The same in multipart/form-data, which Envoy hands over as it came."""

    def __init__(self, variations: Variations) -> None:
        self._variations = variations

    async def CreateImageVariationFromForm(  # noqa: N802
        self, request: Unread[httpbody_pb2.HttpBody], context: Context
    ) -> pb.CreateImageVariationResponse:
        return await self._variations.create("CreateImageVariationFromForm", context, _form(request))

    async def StreamImageVariationFromForm(  # noqa: N802
        self, request: Unread[httpbody_pb2.HttpBody], context: Context
    ) -> AsyncIterator[pb.StreamImageVariationResponse]:
        async with contextlib.aclosing(
            self._variations.stream("StreamImageVariationFromForm", context, _form(request))
        ) as messages:
            async for message in messages:
                yield message


class ModelServicer:
    """What can be asked for."""

    def __init__(self, directory: Directory, warnings: Mapping[Target, Sequence[str]], calls: Calls) -> None:
        self._directory = directory
        self._warnings = warnings
        self._calls = calls

    async def ListModels(  # noqa: N802
        self,
        request: Unread[model_service_pb2.ListModelsRequest],
        context: Context,
    ) -> model_service_pb2.ListModelsResponse:
        async def handle(call: Call) -> model_service_pb2.ListModelsResponse:
            asked = request.read()
            return models_message(
                self._directory,
                self._warnings,
                call.caller.key,
                page_size=asked.page_size,
                page_token=asked.page_token,
            )

        return await self._calls.unary("ListModels", context, handle)


class ImageFileServicer:
    """The images behind the links of ``response_format: url``."""

    def __init__(self, links: Links, calls: Calls) -> None:
        self._links = links
        self._calls = calls

    async def GetImageFile(  # noqa: N802
        self, request: Unread[image_file_service_pb2.GetImageFileRequest], context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        async def handle(call: Call) -> AsyncGenerator[httpbody_pb2.HttpBody, None]:
            link = request.read()
            image = await self._links.open(link.name, str(link.expires), link.signature)
            # The link is the permission: whoever has it may keep what it shows, but no shared cache may.
            call.headers |= {"cache-control": "private, max-age=3600", "x-content-type-options": "nosniff"}
            async for chunk in image.chunks:
                yield httpbody_pb2.HttpBody(content_type=image.media_type, data=chunk)

        async with contextlib.aclosing(
            self._calls.stream("GetImageFile", context, handle, for_everybody=True)
        ) as chunks:
            async for chunk in chunks:
                yield chunk


def _typed(request: Unread[pb.CreateImageVariationRequest]) -> Incoming:
    return Incoming(request.size, lambda: fields_from_message(request.read()))


def _form(request: Unread[httpbody_pb2.HttpBody]) -> Incoming:
    def content() -> tuple[str, bytes]:
        form = request.read()
        return form.content_type, form.data

    # Two steps, so that the message is gone while its copy is taken apart.
    return Incoming(request.size, lambda: parse_form(*content()))


async def _soon(
    messages: asyncio.Queue[pb.StreamImageVariationResponse | None], silence_s: float | None
) -> pb.StreamImageVariationResponse | None:
    """The next message, or a sign of life where there is none for that long. None: there are no more."""
    try:
        async with asyncio.timeout(silence_s):
            return await messages.get()
    except TimeoutError:
        return keep_alive_message()


def _surroundings(call: Call) -> Surroundings:
    def told_standing(standing: Standing) -> None:
        call.headers |= standing.headers()

    return Surroundings(
        deadline=call.work_deadline,
        base_url=call.base_url,
        direct_key=call.caller.direct_key,
        caller=call.caller,
        told=told_standing,
        cache=cache_wishes(call.cache_headers),
    )


def _noting(call: Call) -> Emit:
    """Keeps headers and log line up to date with the target that is being tried, so that failures tell it too."""

    def note(event: Event) -> None:
        if isinstance(event, CacheConsulted):
            call.headers["x-cache"] = call.log["cache"] = "miss" if event.target is None else "hit"
        if isinstance(event, AttemptStarted | CacheConsulted) and event.target is not None:
            call.headers |= {
                "x-provider": event.target.provider,
                "x-model": _header_value(event.target.model),
                "x-fallback-index": str(event.fallback_index),
            }
            call.log |= {
                "provider": event.target.provider,
                "model_used": event.target.model,
                "fallback_index": event.fallback_index,
            }

    return note


def _tell(call: Call, outcome: Outcome) -> None:
    """The truth at the end: a target that failed after another made images is not the one that made them."""
    if call.log.get("fallback_index") != outcome.fallback_index:
        _noting(call)(AttemptStarted(outcome.target, outcome.fallback_index))
    call.log["images"] = len(outcome.images)


def _header_value(text: str) -> str:
    """Model names may come from the caller; a header takes printable ASCII only."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if " " <= character <= "~" else "?" for character in text)


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
