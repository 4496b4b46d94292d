"""The servicers behind a real gRPC server on loopback, over fake backends."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from fake_backends import BASE_URL, links, make_gateway, nothing_to_fetch
from imagevariations.v1 import (
    image_file_service_pb2,
    image_variation_rest_service_pb2,
    image_variation_service_pb2,
    model_service_pb2,
)

from service.api.calls import Calls, CallSettings
from service.api.image_file_servicer import ImageFileServicer
from service.api.log_line import access_log
from service.api.model_servicer import ModelServicer
from service.api.unread import add_servicer
from service.api.variation_servicers import ImageVariationRestServicer, ImageVariationServicer
from service.api.variations import Variations
from service.concurrency.pools import ImagingPool
from service.gateway.directory import Directory
from service.gateway.gateway import FetchImage
from service.governance.callers import Caller, CallerKind
from service.governance.gate import Gate
from service.governance.load import LoadLimiter, LoadLimits
from service.governance.rates import Standing

SERVICES = (
    image_variation_service_pb2.DESCRIPTOR.services_by_name["ImageVariationService"],
    image_variation_rest_service_pb2.DESCRIPTOR.services_by_name["ImageVariationRestService"],
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
    image_file_service_pb2.DESCRIPTOR.services_by_name["ImageFileService"],
)

Serving = Callable[..., contextlib.AbstractAsyncContextManager[grpc.aio.Channel]]


class _Gate(Gate):
    """Takes every credential for a provider's own key."""

    def __init__(self) -> None:
        pass

    async def identify(self, credential: str) -> Caller:
        return Caller(CallerKind.DIRECT, direct_key=credential)

    async def standing(self, caller: Caller) -> Standing | None:
        return None


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    """Serves a directory of fakes; the value is a channel to it."""

    @contextlib.asynccontextmanager
    async def serve(
        names: Directory,
        *,
        longest_s: float = 30.0,
        allow_direct_keys: bool = False,
        most_at_a_time: int = 100,
        fetch: FetchImage = nothing_to_fetch,
    ) -> AsyncIterator[grpc.aio.Channel]:
        pool = ImagingPool(2)
        calls = Calls(CallSettings(longest_s, BASE_URL), _Gate() if allow_direct_keys else None)
        gateway = make_gateway(names, pool, tmp_path / "results", fetch=fetch)
        load, downloads = (LoadLimiter(LoadLimits(most_at_a_time, 10**9, waiting=0)) for _ in range(2))
        variations = Variations(gateway, calls, pool, load, downloads, 10**6)
        server = grpc.aio.server()
        servicers = (
            ImageVariationServicer(variations),
            ImageVariationRestServicer(variations),
            ModelServicer(names, {}, calls),
            ImageFileServicer(links(tmp_path / "results"), calls),
        )
        for service, servicer in zip(SERVICES, servicers, strict=True):
            add_servicer(server, service, servicer)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield channel
        finally:
            await server.stop(None)
            pool.close()

    return serve


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.fields)  # type: ignore[attr-defined]


@pytest.fixture
def log_lines() -> Iterator[list[dict[str, Any]]]:
    """The fields of each line of the access log."""
    handler, level = _Lines(), access_log.level
    access_log.addHandler(handler)
    access_log.setLevel(logging.INFO)
    yield handler.lines
    access_log.removeHandler(handler)
    access_log.setLevel(level)
