"""Requests that are read when they are wanted, and kept no longer: a large image in one is not held several times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from service.api.wire import malformed

Request = TypeVar("Request", bound=Message)


@dataclass(frozen=True, slots=True)
class Unread(Generic[Request]):
    """A request as it came over the wire.

    gRPC keeps both the bytes that came and whatever is made of them until a call has ended, which takes minutes here.
    So what is made of them is this, and the message exists only while its fields are read.
    """

    raw: bytes = field(repr=False)
    parse: Callable[[bytes], Request] = field(repr=False)

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return len(self.raw)

    def read(self) -> Request:
        """The message.

        Raises:
            GatewayError: INVALID_REQUEST when the bytes are none.
        """
        try:
            return self.parse(self.raw)
        except DecodeError:
            raise malformed() from None


def add_servicer(server: grpc.aio.Server, service: ServiceDescriptor, servicer: object) -> None:
    """Registers a servicer as generated code does, but its methods take requests ``Unread``, and may answer in bytes.

    Bytes are the answer's message as it goes over the wire.
    """
    handlers = {}
    for method in service.methods:
        make = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        handlers[method.name] = make(
            getattr(servicer, method.name),
            request_deserializer=partial(Unread, parse=request.FromString),
            response_serializer=partial(_serialized, response.SerializeToString),
        )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))


def _serialized(serialize: Callable[[Message], bytes], answer: Message | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else serialize(answer)
