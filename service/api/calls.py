"""Calls of every method: an id, a deadline, headers, one log line, one way to fail."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import grpc

from service.api.cache_headers import PREFIX as CACHE_PREFIX
from service.api.call import Call
from service.api.credentials import credential_in
from service.api.log_line import logged
from service.api.origin_policy import refuse_foreign
from service.api.request_headers import (
    METHOD_HEADER,
    QUERY_HEADER,
    RAW_HEADER,
    REQUEST_ID_HEADER,
    TRACE_HEADER,
    TRANSCODED_HEADER,
    base_url,
    content_encoding,
    request_id,
    sidecar_attempt,
    timeout_s,
)
from service.api.status import internal_error, row_of, short_message, trailers
from service.api.under_way import CallsUnderWay
from service.core.current import RequestIdentity, current_request
from service.core.errors import ErrorKind, GatewayError
from service.gateway.events import CallEnded
from service.governance.callers import CallerKind
from service.governance.gate import Gate
from service.governance.idempotency import KEY_HEADER
from service.governance.rates import LIMIT_HEADER

_error_log = logging.getLogger("service.error")


Response = TypeVar("Response")
# Somebody who reads takes a message of megabytes within seconds, over a poor mobile connection within a minute.
LONGEST_WRITE_S = 60.0
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class CallSettings:
    """The operator's settings for every call.

    Attributes:
        longest_s: Cap of a caller's deadline, and the deadline of those who set none, in seconds.
        base_url: Of links for callers that did not come through Envoy.
        foreign_origins: Whether web pages of other machines may call without a credential.
    """

    longest_s: float
    base_url: str
    foreign_origins: bool = True


class Calls:
    """Runs handlers, so that every method answers, fails and logs alike.

    Args:
        gate: Knows who is let in. None: everybody is.
        observe: Takes the end of every call. Must not block or raise.

    Attributes:
        under_way: The calls that have begun and not ended.
    """

    def __init__(
        self, settings: CallSettings, gate: Gate | None = None, observe: Callable[[CallEnded], None] | None = None
    ) -> None:
        self._settings = settings
        self._gate = gate
        self._observe = observe
        self.under_way = CallsUnderWay()

    async def unary(self, method: str, context: Context, handler: Callable[[Call], Awaitable[Response]]) -> Response:
        """Answers with what ``handler`` returns, or with the status of the GatewayError it raises."""
        call, error = self._begin(method, context)
        with self._attended(call):
            if error is None:
                try:
                    async with asyncio.timeout_at(call.deadline):
                        await self._admit(call)
                        response = await handler(call)
                    await self._tell_standing(call)
                    await context.send_initial_metadata(tuple(call.headers.items()))
                    return response
                except Exception as caught:
                    error = told(caught, call)
            return await self._fail(context, call, error)

    async def check(self, method: str, context: Context) -> None:
        """Lets the caller in, or fails as ``unary`` would. Only refusals are logged: the request itself comes next."""
        call, error = self._begin(method, context)
        if error is None:
            try:
                async with asyncio.timeout_at(call.deadline):
                    await self._admit(call)
                return
            except Exception as caught:
                error = told(caught, call)
        with self._attended(call):
            await self._fail(context, call, error)

    async def stream(
        self,
        method: str,
        context: Context,
        handler: Callable[[Call], AsyncGenerator[Response, None]],
        *,
        for_everybody: bool = False,
    ) -> AsyncGenerator[Response, None]:
        """Passes on what ``handler`` yields; headers go out with the first message, failures as a status.

        However this ends, the handler has ended before it.

        Args:
            for_everybody: Whether no credential is looked at.
        """
        call, error = self._begin(method, context)
        with self._attended(call):
            if error is None:
                try:
                    if not for_everybody:
                        async with asyncio.timeout_at(call.deadline):
                            await self._admit(call)
                    async with contextlib.aclosing(handler(call)) as messages:
                        begun = False
                        # The time a caller takes to read is not the handler's, and must not be interrupted: the
                        # interruption would hit gRPC's own code, which then sends no status at all.
                        while (message := await _next(messages, call.deadline)) is not None:
                            if not begun:
                                await self._tell_standing(call)
                                await context.send_initial_metadata(tuple(call.headers.items()))
                                begun = True
                            with _read_in_time():
                                yield message
                    return
                except Exception as caught:
                    error = told(caught, call)
            await self._fail(context, call, error)

    @contextlib.contextmanager
    def _attended(self, call: Call) -> Iterator[None]:
        """Around one call: counts it while it is under way, writes its log line, and tells its end."""
        try:
            with self.under_way.counted(), logged(call):
                yield
        finally:
            if self._observe is not None:
                self._observe(_end_of(call))

    async def _admit(self, call: Call) -> None:
        """Finds out who is calling."""
        if self._gate is not None:
            call.caller = await self._gate.identify(call.credential)
        if call.caller.kind is CallerKind.ANYBODY and not self._settings.foreign_origins:
            refuse_foreign(call.origin)
        if call.caller.name:
            call.log["caller"] = call.caller.name

    async def _tell_standing(self, call: Call) -> None:
        """Tells a caller with a request limit where it stands, also in answers that do not count against it."""
        if self._gate is not None and call.caller.rates and LIMIT_HEADER not in call.headers:
            standing = await self._gate.standing(call.caller)
            call.headers |= standing.headers() if standing else {}

    async def _fail(self, context: Context, call: Call, error: GatewayError) -> NoReturn:
        call.failed(error)
        await self._tell_standing(call)
        if error.kind is ErrorKind.UNAUTHENTICATED:
            call.headers["www-authenticate"] = "Bearer"
        # Initial metadata is left unsent: a trailers-only answer carries all of this as its headers.
        metadata = (*call.headers.items(), *trailers(error, transcoded=call.transcoded, request_id=call.id))
        await context.abort(row_of(error).grpc_code, short_message(error), metadata)
        raise AssertionError("abort() always raises")

    def _begin(self, method: str, context: Context) -> tuple[Call, GatewayError | None]:
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        now = asyncio.get_running_loop().time()
        error = self.under_way.refusal()
        budget = self._settings.longest_s
        remaining = context.time_remaining()
        if remaining is not None:
            budget = min(budget, max(0.0, remaining))
        try:
            budget = min(budget, timeout_s(metadata) or budget)
        except GatewayError as caught:
            error = error or caught
        transcoded = TRANSCODED_HEADER in metadata
        call_id = request_id(metadata)
        current_request.set(RequestIdentity(call_id, metadata.get(TRACE_HEADER, "")))
        call = Call(
            id=call_id,
            method=method,
            begun=now,
            deadline=now + budget,
            transcoded=transcoded,
            base_url=base_url(metadata, self._settings.base_url),
            raw=metadata.get(RAW_HEADER, "").lower() == "true",
            credential=credential_in(metadata),
            origin=metadata.get("origin", ""),
            http_method=metadata.get(METHOD_HEADER, "") if transcoded else "",
            range=metadata.get("range", "") if transcoded else "",
            content_encoding=content_encoding(metadata) if transcoded else "",
            query=metadata.get(QUERY_HEADER, "") if transcoded else "",
            idempotency_key=metadata.get(KEY_HEADER),
            sidecar_attempt=sidecar_attempt(metadata),
            cache_headers={name: value for name, value in metadata.items() if name.startswith(CACHE_PREFIX)},
            headers={REQUEST_ID_HEADER: call_id, "x-cache": "off"},
        )
        return call, error


def _end_of(call: Call) -> CallEnded:
    if call.outcome == "cancelled":
        code = grpc.StatusCode.CANCELLED
    else:
        code = grpc.StatusCode.OK if call.error is None else row_of(call.error).grpc_code
    return CallEnded(
        call.method,
        code.name,
        call.caller.kind,
        asyncio.get_running_loop().time() - call.begun,
        call.provider_seconds,
        call.bytes_in,
        call.bytes_out,
        call.error,
    )


def told(caught: Exception, call: Call) -> GatewayError:
    """The error told to the caller of an exception. Of a bug the log gets everything, the caller its id."""
    if isinstance(caught, TimeoutError):
        return GatewayError(ErrorKind.DEADLINE_EXCEEDED, "The time allowed for this request ran out.")
    if isinstance(caught, GatewayError) and caught.kind is not ErrorKind.INTERNAL:
        return caught
    _error_log.error("a bug, request %s", call.id, exc_info=caught)
    code = caught.code if isinstance(caught, GatewayError) else ""
    return internal_error(call.id).replaced(code=code)


@contextlib.contextmanager
def _read_in_time() -> Iterator[None]:
    """Ends the call where its caller does not take the message that is yielded within: nothing else would end it.

    gRPC is writing then, and is cut off in that, so the caller gets no status but a reset stream.
    """
    task = asyncio.current_task()
    assert task is not None, "gRPC runs a call in a task"
    ending = asyncio.get_running_loop().call_later(LONGEST_WRITE_S, task.cancel)
    try:
        yield
    finally:
        ending.cancel()


async def _next(messages: AsyncGenerator[Response, None], deadline: float) -> Response | None:
    """The next message, or None after the last."""
    async with asyncio.timeout_at(deadline):
        return await anext(messages, None)
