"""Server reflection, versions v1 and v1alpha, by which grpcurl and its like find out what can be called."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer
from imagevariations.v1 import error_reason_pb2  # noqa: F401 - no message needs it, and clients look it up

SERVICE_NAMES: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def enable_reflection(server: grpc.aio.Server, service_names: Iterable[str]) -> None:
    """Makes ``server`` tell of these services, and of reflection itself.

    The messages of both versions are the same but for the package's name, so one servicer answers in both.
    """
    _add_version_1()
    servicer = ReflectionServicer((*service_names, *SERVICE_NAMES), pool=_Pool())
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}) for name in SERVICE_NAMES)
    )


class _Pool:
    """The default pool, which also finds the methods of a service.

    The pool that comes with protobuf knows no methods by their names, and clients ask for those.
    """

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - the pool's own name
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            outer, _, member = symbol.rpartition(".")
            file = self._pool.FindFileContainingSymbol(outer)
            if member not in _members(file, outer):
                raise
            return file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)


def _members(file: FileDescriptor, full_name: str) -> set[str]:
    """The names of the methods of a service."""
    service = next((each for each in file.services_by_name.values() if each.full_name == full_name), None)
    return set(service.methods_by_name) if service else set()


def _add_version_1() -> None:
    """The package that ships v1alpha has no v1 yet; it differs in nothing but its name."""
    pool = descriptor_pool.Default()
    name = "grpc/reflection/v1/reflection.proto"
    try:
        pool.FindFileByName(name)
    except KeyError:
        file = descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
        renamed = text_format.MessageToString(file).replace("v1alpha", "v1")
        file = text_format.Parse(renamed, descriptor_pb2.FileDescriptorProto())
        file.name = name
        pool.AddSerializedFile(file.SerializeToString())
