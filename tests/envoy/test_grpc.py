"""Native gRPC with the generated stubs, directly and through Envoy."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from imagevariations.v1 import (
    image_file_service_pb2,
    image_file_service_pb2_grpc,
    image_variation_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)
from imagevariations.v1 import image_variation_pb2 as pb
from PIL import Image
from running_gateway import RunningGateway


@pytest.fixture(params=["directly", "through Envoy"])
async def channel(request: pytest.FixtureRequest, gateway: RunningGateway) -> AsyncIterator[grpc.aio.Channel]:
    address = gateway.grpc if request.param == "directly" else gateway.url.removeprefix("http://")
    unbounded = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=unbounded) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> image_variation_service_pb2_grpc.ImageVariationServiceAsyncStub:
    return image_variation_service_pb2_grpc.ImageVariationServiceStub(channel)


def request(image: bytes, **fields: Any) -> pb.CreateImageVariationRequest:
    defaults: dict[str, Any] = {"size": "256x256", "response_format": "b64_json"}
    return pb.CreateImageVariationRequest(image=image, **{**defaults, **fields})


async def test_unary(stub: image_variation_service_pb2_grpc.ImageVariationServiceAsyncStub, small_png: bytes) -> None:
    call = stub.CreateImageVariation(request(small_png, n=2), timeout=60)
    answer = await call
    assert [each.index for each in answer.data] == [0, 1]
    # Raw bytes, not base64: that is for JSON.
    assert Image.open(io.BytesIO(answer.data[0].b64_json)).size == (256, 256)
    headers = dict(await call.initial_metadata())
    assert headers["x-provider"] == "local"
    assert headers["x-request-id"]


async def test_streaming(
    stub: image_variation_service_pb2_grpc.ImageVariationServiceAsyncStub, small_png: bytes
) -> None:
    events = [event async for event in stub.StreamImageVariation(request(small_png, n=3), timeout=60)]
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["attempt_started", *["image_completed"] * 3, "completed"]
    assert {event.image_completed.index for event in events[1:4]} == {0, 1, 2}
    assert events[4].completed.extra_fields.provider == "local"


async def test_cancelling_stops_the_work(
    gateway: RunningGateway, stub: image_variation_service_pb2_grpc.ImageVariationServiceAsyncStub, photo: bytes
) -> None:
    """After a cancelled request for many images the workers are free at once: queued work is gone."""
    metadata = (("x-request-id", f"cancelled-{id(stub)}"),)
    call = stub.StreamImageVariation(request(photo, n=10, size="1792x1024"), metadata=metadata)
    async for _ in call:
        break
    call.cancel()
    async with asyncio.timeout(30):
        # The log is another process's; nothing here could be awaited instead.
        while not [line for line in gateway.log_lines("service.access") if line["id"] == metadata[0][1]]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    (line,) = [line for line in gateway.log_lines("service.access") if line["id"] == metadata[0][1]]
    assert line["outcome"] == "cancelled"
    # Ten of that size take many times as long as this.
    await stub.CreateImageVariation(request(photo), timeout=20)


async def test_errors_carry_rich_details(
    stub: image_variation_service_pb2_grpc.ImageVariationServiceAsyncStub, small_png: bytes
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.CreateImageVariation(request(small_png, n=11), timeout=60)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info, violation = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(violation)
    assert (info.reason, info.domain, info.metadata["http_status"]) == ("INVALID_N", "imagevariations.v1", "400")
    assert violation.field_violations[0].field == "n"


async def test_an_unknown_model_is_not_found(
    stub: image_variation_service_pb2_grpc.ImageVariationServiceAsyncStub, small_png: bytes
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.CreateImageVariation(request(small_png, model="nobody/nothing"), timeout=60)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_links_work_for_native_clients_too(
    gateway: RunningGateway, channel: grpc.aio.Channel, small_png: bytes
) -> None:
    stub = image_variation_service_pb2_grpc.ImageVariationServiceStub(channel)
    answer = await stub.CreateImageVariation(request(small_png, response_format="url"), timeout=60)
    link = httpx.URL(answer.data[0].url)
    assert str(link).startswith(gateway.url)
    files = image_file_service_pb2_grpc.ImageFileServiceStub(channel)
    named = image_file_service_pb2.GetImageFileRequest(
        name=link.path.rpartition("/")[2], expires=int(link.params["expires"]), signature=link.params["signature"]
    )
    chunks = [chunk async for chunk in files.GetImageFile(named, timeout=30)]
    assert chunks[0].content_type == "image/png"
    assert Image.open(io.BytesIO(b"".join(chunk.data for chunk in chunks))).size == (256, 256)


async def test_models(channel: grpc.aio.Channel) -> None:
    models = await model_service_pb2_grpc.ModelServiceStub(channel).ListModels(
        model_service_pb2.ListModelsRequest(), timeout=30
    )
    assert "local/vary" in [model.id for model in models.data]


async def test_health_of_each_service(channel: grpc.aio.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "imagevariations.v1.ImageVariationService", "imagevariations.v1.ModelService"):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)  # type: ignore[attr-defined]  # its stubs know no methods
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection(channel: grpc.aio.Channel) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]  # its stubs know no asyncio
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=10)
    (answer,) = [each async for each in call]
    names = [service.name for service in answer.list_services_response.service]
    assert "imagevariations.v1.ImageVariationService" in names
    assert "grpc.health.v1.Health" in names
