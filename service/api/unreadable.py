"""Messages that are none, answered like any other bad request and not, as gRPC would, like a bug of ours."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from service.api.calls import Call, Calls, Context
from service.core.errors import ErrorKind, GatewayError

_OUR_METHODS = "/imagevariations.v1."
_UNREADABLE = object()


class UnreadableRequests(grpc.aio.ServerInterceptor):
    """Parsing fails before a servicer is asked: JSON may be nested deeper than messages may, URLs may hold bytes that
    are no UTF-8, and clients of gRPC may send anything.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        path = str(handler_call_details.method)
        if handler is None or handler.request_streaming or not path.startswith(_OUR_METHODS):
            return handler
        method = path.rpartition("/")[2]
        parse, answer_one, answer_many = handler.request_deserializer, handler.unary_unary, handler.unary_stream

        def parsed(data: bytes) -> Any:
            try:
                return parse(data)
            except DecodeError:
                return _UNREADABLE

        async def one(request: Any, context: Context) -> Any:
            if request is _UNREADABLE:
                return await self._calls.unary(method, context, _refused)
            return await answer_one(request, context)

        async def many(request: Any, context: Context) -> AsyncIterator[Any]:
            if request is _UNREADABLE:
                await self._calls.unary(method, context, _refused)
            # Whoever leaves ends the work at once, not when the generator is collected.
            async with contextlib.aclosing(answer_many(request, context)) as messages:
                async for message in messages:
                    yield message

        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(many, parsed, handler.response_serializer)
        return grpc.unary_unary_rpc_method_handler(one, parsed, handler.response_serializer)


async def _refused(_: Call) -> Any:
    raise GatewayError(
        ErrorKind.INVALID_REQUEST,
        "The request cannot be read: it is nested too deep, holds text that is not UTF-8, or is cut off.",
        code="malformed_request",
        may_have_run=False,
    )
