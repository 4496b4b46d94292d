"""Reflection over a real gRPC server."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2 as pb
from imagevariations.v1 import image_variation_service_pb2

from service.api.reflection import SERVICE_NAMES, enable_reflection

SERVICE = image_variation_service_pb2.DESCRIPTOR.services_by_name["ImageVariationService"].full_name


async def answered(version: str, **asked: object) -> pb.ServerReflectionResponse:
    server = grpc.aio.server()
    enable_reflection(server, [SERVICE])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.stream_stream(
                f"/{version}/ServerReflectionInfo",
                request_serializer=pb.ServerReflectionRequest.SerializeToString,
                response_deserializer=pb.ServerReflectionResponse.FromString,
            )(iter([pb.ServerReflectionRequest(**asked)]))  # type: ignore[arg-type]
            (answer,) = [each async for each in call]
    finally:
        await server.stop(None)
    assert isinstance(answer, pb.ServerReflectionResponse)
    return answer


@pytest.mark.parametrize("version", SERVICE_NAMES)
async def test_services_are_listed(version: str) -> None:
    answer = await answered(version, list_services="")
    assert {each.name for each in answer.list_services_response.service} == {SERVICE, *SERVICE_NAMES}


@pytest.mark.parametrize("version", SERVICE_NAMES)
@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        (SERVICE, "imagevariations/v1/image_variation_service.proto"),
        (f"{SERVICE}.CreateImageVariation", "imagevariations/v1/image_variation_service.proto"),
        ("imagevariations.v1.CreateImageVariationRequest", "imagevariations/v1/image_variation.proto"),
        ("imagevariations.v1.ErrorReason", "imagevariations/v1/error_reason.proto"),
        ("google.rpc.ErrorInfo", "google/rpc/error_details.proto"),
        ("grpc.reflection.v1.ServerReflection", "grpc/reflection/v1/reflection.proto"),
        ("grpc.reflection.v1alpha.ServerReflection", "grpc_reflection/v1alpha/reflection.proto"),
    ],
)
async def test_symbols_are_found(version: str, symbol: str, file: str) -> None:
    answer = await answered(version, file_containing_symbol=symbol)
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(each)
        for each in answer.file_descriptor_response.file_descriptor_proto
    ]
    assert files[0].name == file
    assert {name for each in files for name in each.dependency} <= {each.name for each in files}


@pytest.mark.parametrize(
    "symbol", ["", ".", "nothing.at.All", f"{SERVICE}.NoSuchMethod", f"{SERVICE}.CreateImageVariation.x"]
)
async def test_what_is_not_there_is_not_found(symbol: str) -> None:
    answer = await answered(SERVICE_NAMES[0], file_containing_symbol=symbol)
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
