"""The gRPC server: its services, options and address."""

from __future__ import annotations

import grpc
from imagevariations.v1 import (
    cache_service_pb2,
    image_file_service_pb2,
    image_variation_form_service_pb2,
    image_variation_service_pb2,
    model_service_pb2,
)

from service.config import Config

# What a message needs beyond the image in it.
MESSAGE_OVERHEAD_BYTES = 1 << 20
MOST_METADATA_BYTES = 256 << 10

SERVICES = tuple(
    descriptor.services_by_name[name]
    for descriptor, name in (
        (image_variation_service_pb2.DESCRIPTOR, "ImageVariationService"),
        (image_variation_form_service_pb2.DESCRIPTOR, "ImageVariationFormService"),
        (model_service_pb2.DESCRIPTOR, "ModelService"),
        (image_file_service_pb2.DESCRIPTOR, "ImageFileService"),
        (cache_service_pb2.DESCRIPTOR, "CacheService"),
    )
)
SERVICE_NAMES = tuple(service.full_name for service in SERVICES)


def server_options(config: Config) -> list[tuple[str, int]]:
    """gRPC channel arguments for the configured limits."""
    return [
        ("grpc.max_receive_message_length", config.limits.request_bytes + MESSAGE_OVERHEAD_BYTES),
        ("grpc.max_send_message_length", config.limits.response_bytes + MESSAGE_OVERHEAD_BYTES),
        # Above what Envoy lets through (60 KiB, and the path twice), so that what is too large is told by one of
        # them only; gRPC calls it an exhausted resource, and clients would try again.
        ("grpc.max_metadata_size", MOST_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MOST_METADATA_BYTES),
        # Two services on one port would share its requests unnoticed.
        ("grpc.so_reuseport", 0),
    ]


def bind(server: grpc.aio.Server, config: Config) -> int:
    """Binds the server to the configured address; the port it got.

    Raises:
        SystemExit: The address is taken or is not one of this machine's.
    """
    address = config.listen.grpc
    try:
        port = server.add_insecure_port(str(address))
    except RuntimeError:
        port = 0
    if not port:
        raise SystemExit(
            f"Cannot listen on {address}: another process has this port, or the address is not ours. "
            "GRPC_PORT or listen.grpc chooses another."
        )
    return int(port)
