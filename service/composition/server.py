"""The gRPC server: its services, options and address."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
from imagevariations.v1 import (
    access_service_pb2,
    cache_service_pb2,
    image_file_service_pb2,
    image_variation_rest_service_pb2,
    image_variation_service_pb2,
    model_service_pb2,
)

from service.config import Config

# Bytes of a message beside the image in it.
MESSAGE_OVERHEAD_BYTES = 1 << 20
MOST_METADATA_BYTES = 256 << 10

SERVICES = tuple(
    descriptor.services_by_name[name]
    for descriptor, name in (
        (image_variation_service_pb2.DESCRIPTOR, "ImageVariationService"),
        (image_variation_rest_service_pb2.DESCRIPTOR, "ImageVariationRestService"),
        (model_service_pb2.DESCRIPTOR, "ModelService"),
        (image_file_service_pb2.DESCRIPTOR, "ImageFileService"),
        (cache_service_pb2.DESCRIPTOR, "CacheService"),
        (access_service_pb2.DESCRIPTOR, "AccessService"),
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
        # Meshes' sidecars and clients behind NATs ping every 5 to 30 s during a call that takes minutes, and between
        # calls. A server's default is to end the connection, and so a paid call, after the third ping in five minutes.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 250),
        ("grpc.http2.max_ping_strikes", 10),
        ("grpc.keepalive_permit_without_calls", 1),
        # Our own pings find out that a client is gone without a word.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.max_pings_without_data", 0),
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
    if config.listen.grpc_socket:
        _bind_socket(server, config.listen.grpc_socket)
    return int(port)


def _bind_socket(server: grpc.aio.Server, path: str) -> None:
    # A process that may open the socket needs no credential where none is configured.
    before = os.umask(0o077)
    try:
        bound = server.add_insecure_port(f"unix:{Path(path).expanduser().absolute()}")
    except RuntimeError:
        bound = 0
    finally:
        os.umask(before)
    if not bound:
        raise SystemExit(f"Cannot listen on the socket {path}: its directory is missing, or the path is too long.")
