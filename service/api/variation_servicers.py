"""The RPC methods: thin, each says which values go in and which come out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from google.api import httpbody_pb2
from imagevariations.v1 import image_variation_pb2 as pb

from service.api.calls import Context
from service.api.convert import (
    fields_from_message,
)
from service.api.form import parse_form
from service.api.unread import Unread
from service.api.variations import Incoming, Variations


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


def _typed(request: Unread[pb.CreateImageVariationRequest]) -> Incoming:
    return Incoming(request.size, lambda: fields_from_message(request.read()))


def _form(request: Unread[httpbody_pb2.HttpBody]) -> Incoming:
    def content() -> tuple[str, bytes]:
        form = request.read()
        return form.content_type, form.data

    # Two steps, so that the message is gone while its copy is taken apart.
    return Incoming(request.size, lambda: parse_form(*content()))
