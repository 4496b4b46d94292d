"""The RPC methods: thin, each says which values go in and which come out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from google.api import httpbody_pb2
from imagevariations.v1 import image_variation_pb2 as pb

from service.api.calls import Context
from service.api.convert import fields_from_message, refuse_too_much_text
from service.api.rendering import RestRendering, TypedRendering
from service.api.rest.body import read_body
from service.api.rest.request import parse_body
from service.api.unread import Unread
from service.api.validation import Fields
from service.api.variations import Incoming, Variations

_TYPED = TypedRendering()
_REST = RestRendering()


class ImageVariationServicer:
    """Typed requests: native gRPC and grpc-gateway."""

    def __init__(self, variations: Variations) -> None:
        self._variations = variations

    async def CreateImageVariation(  # noqa: N802
        self, request: Unread[pb.CreateImageVariationRequest], context: Context
    ) -> pb.CreateImageVariationResponse:
        return await self._variations.create("CreateImageVariation", context, _typed(request), _TYPED)

    async def StreamImageVariation(  # noqa: N802
        self, request: Unread[pb.CreateImageVariationRequest], context: Context
    ) -> AsyncIterator[pb.StreamImageVariationResponse]:
        # gRPC takes a method for a streaming one only if it is an async generator itself.
        async with contextlib.aclosing(
            self._variations.stream("StreamImageVariation", context, _typed(request), _TYPED)
        ) as messages:
            async for message in messages:
                yield message


class ImageVariationRestServicer:
    """The REST door: requests as Envoy got them, answers as Envoy passes them on."""

    def __init__(self, variations: Variations) -> None:
        self._variations = variations

    async def CreateImageVariationFromBody(  # noqa: N802
        self, request: Unread[httpbody_pb2.HttpBody], context: Context
    ) -> bytes:
        return await self._variations.create("CreateImageVariationFromBody", context, _body(request), _REST)

    async def StreamImageVariationFromBody(  # noqa: N802
        self, request: Unread[httpbody_pb2.HttpBody], context: Context
    ) -> AsyncIterator[bytes]:
        async with contextlib.aclosing(
            self._variations.stream("StreamImageVariationFromBody", context, _body(request), _REST)
        ) as messages:
            async for message in messages:
                yield message


def _typed(request: Unread[pb.CreateImageVariationRequest]) -> Incoming:
    def fields() -> Fields:
        refuse_too_much_text(request.raw)
        return fields_from_message(request.read())

    return Incoming(request.size, fields)


def _body(request: Unread[httpbody_pb2.HttpBody]) -> Incoming:
    return Incoming(request.size, lambda: parse_body(read_body(request.raw)))
