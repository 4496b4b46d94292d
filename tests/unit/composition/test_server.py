"""The gRPC server's options, against a client on a real connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.composition.server import bind, server_options
from service.config import Config, load

# A sidecar's keep-alive, faster than any: three such pings are what a server bears by default.
_PING_EVERY_MS = 300
_PINGS = 11


class _Slow(health_pb2_grpc.HealthServicer):
    async def Check(self, request: health_pb2.HealthCheckRequest, context: object) -> health_pb2.HealthCheckResponse:
        await asyncio.sleep(_PINGS * _PING_EVERY_MS / 1000 if request.service == "slow" else 0)
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    document = tmp_path / "gateway.yaml"
    document.write_text(f"listen: {{grpc: '127.0.0.1:0', grpc_socket: '{tmp_path}/grpc.sock'}}", encoding="utf-8")
    return load(document, {})


@pytest.fixture
async def port(config: Config) -> AsyncIterator[int]:
    server = grpc.aio.server(options=server_options(config))
    health_pb2_grpc.add_HealthServicer_to_server(_Slow(), server)
    bound = bind(server, config)
    await server.start()
    yield bound
    await server.stop(None)


async def check(channel: grpc.aio.Channel, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=20)  # type: ignore[attr-defined]  # its stubs know no methods
    return int(answer.status)


async def test_a_call_longer_than_ten_pings_ends_well(port: int) -> None:
    options = [
        ("grpc.keepalive_time_ms", _PING_EVERY_MS),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        assert await check(channel, "slow") == health_pb2.HealthCheckResponse.SERVING
        # Between calls, too: the connection is the same one then.
        await asyncio.sleep(4 * _PING_EVERY_MS / 1000)
        assert await check(channel) == health_pb2.HealthCheckResponse.SERVING


async def test_it_listens_on_a_unix_socket_too(port: int, tmp_path: Path) -> None:
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/grpc.sock") as channel:
        assert await check(channel) == health_pb2.HealthCheckResponse.SERVING
    assert (tmp_path / "grpc.sock").stat().st_mode & 0o077 == 0, "readable by its owner only"
