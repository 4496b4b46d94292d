"""The floor: what any service built of these parts has to cost. Beside it the gateway's own work shows.

A bare grpc.aio servicer on uvloop behind the same Envoy configuration: it forwards the body as it came with httpx
over pyqwest and puts the answer's image into the response. No routing, no checks, no log.

    python -m bench.floor GRPC_PORT UPSTREAM_URL
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import httpx
import uvloop
from google.api import httpbody_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from imagevariations.v1 import image_variation_rest_service_pb2_grpc
from pyqwest import HTTPTransport
from pyqwest.httpx import AsyncPyqwestTransport

_LARGEST_MESSAGE = 128 << 20


class Floor(image_variation_rest_service_pb2_grpc.ImageVariationRestServiceServicer):
    """Forwards forms, whole ones only."""

    def __init__(self, client: httpx.AsyncClient, upstream: str) -> None:
        self._client = client
        self._url = f"{upstream}/images/variations"

    async def CreateImageVariationFromBody(  # noqa: N802
        self,
        request: httpbody_pb2.HttpBody,
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002
    ) -> httpbody_pb2.HttpBody:
        answer = await self._client.post(
            self._url,
            content=request.data,
            headers={"content-type": request.content_type, "authorization": "Bearer sk-upstream"},
        )
        return httpbody_pb2.HttpBody(content_type="application/json", data=answer.content)


async def _serve(port: int, upstream: str) -> None:
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
            ("grpc.max_send_message_length", _LARGEST_MESSAGE),
            ("grpc.so_reuseport", 0),
        ]
    )
    transport = AsyncPyqwestTransport(
        HTTPTransport(pool_max_idle_per_host=64, follow_redirects=False, enable_cookie_store=False, enable_otel=False)
    )
    async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=None) as client:
        image_variation_rest_service_pb2_grpc.add_ImageVariationRestServiceServicer_to_server(
            Floor(client, upstream),  # type: ignore[abstract]
            server,
        )
        health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        await health.set("imagevariations.v1.ImageVariationService", HealthCheckResponse.SERVING)
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))
