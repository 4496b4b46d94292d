"""A double of the service for the command line: answers what a test scripts, remembers what it was asked."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from imagevariations.v1 import (
    image_variation_pb2,
    image_variation_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)
from PIL import Image

from service.api.status import trailers
from service.core.errors import GatewayError

Event = image_variation_pb2.StreamImageVariationResponse


@dataclass
class Double(
    image_variation_service_pb2_grpc.ImageVariationServiceServicer, model_service_pb2_grpc.ModelServiceServicer
):
    """Sends ``events``, then fails with ``error`` if there is one."""

    events: list[Event] = field(default_factory=list)
    error: GatewayError | None = None
    code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT
    models: list[model_service_pb2.Model] = field(default_factory=list)
    requests: list[image_variation_pb2.CreateImageVariationRequest] = field(default_factory=list)
    metadata: list[Mapping[str, str]] = field(default_factory=list)
    target: str = ""

    async def CreateImageVariation(self, request: Any, context: Any) -> Any:
        raise AssertionError("the command line streams")

    async def StreamImageVariation(self, request: Any, context: Any) -> AsyncIterator[Event]:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        for event in self.events:
            yield event
        await self._fail(context)

    async def ListModels(self, request: Any, context: Any) -> model_service_pb2.ListModelsResponse:
        self.metadata.append(dict(context.invocation_metadata()))
        await self._fail(context)
        return model_service_pb2.ListModelsResponse(object="list", data=self.models)

    async def GetModel(self, request: Any, context: Any) -> Any:
        raise AssertionError("the command line lists the models")

    async def _fail(self, context: Any) -> None:
        if self.error is not None:
            await context.abort(self.code, self.error.message, trailers(self.error, transcoded=False))


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    """A double that listens on a free port, named by its ``target``."""
    servicer = Double()
    server = grpc.aio.server()
    image_variation_service_pb2_grpc.add_ImageVariationServiceServicer_to_server(servicer, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    servicer.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield servicer
    finally:
        await server.stop(None)


@pytest.fixture
def run(double: Double) -> Callable[..., Awaitable[int]]:
    """Runs a command against the double, away from the event loop that serves it; returns the exit code."""
    import asyncio

    from service.cli import main

    async def run_it(*arguments: str) -> int:
        return await asyncio.to_thread(main, [*arguments, "--target", double.target])

    return run_it


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """A small image file of one colour."""

    def make(colour: str = "red", file_format: str = "PNG", size: tuple[int, int] = (60, 40)) -> bytes:
        stream = io.BytesIO()
        Image.new("RGB", size, colour).save(stream, file_format)
        return stream.getvalue()

    return make


@pytest.fixture
def completed(picture: Callable[..., bytes]) -> Callable[..., Event]:
    """The event that hands over one image."""

    def make(index: int, data: bytes | None = None) -> Event:
        image = image_variation_pb2.ImageVariation(index=index, b64_json=picture("blue") if data is None else data)
        return Event(type="image_variation.image_completed", image_completed=image)

    return make
