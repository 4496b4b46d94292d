"""The composition root: makes every part out of the configuration, wires them, starts, and drains."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha import reflection
from imagevariations.v1 import (
    access_service_pb2,
    cache_service_pb2,
    image_file_service_pb2,
    image_variation_form_service_pb2,
    image_variation_service_pb2,
    model_service_pb2,
)

from service import engine, logs, memory
from service.api.access_servicer import AccessServicer
from service.api.cache_servicer import CacheServicer
from service.api.calls import Calls, CallSettings
from service.api.servicers import (
    ImageFileServicer,
    ImageVariationFormServicer,
    ImageVariationServicer,
    ModelServicer,
    Variations,
)
from service.api.unread import add_servicer
from service.caching import opened_cache
from service.config import Config
from service.gateway.admission import Admission
from service.gateway.attempt import TargetRunner
from service.gateway.finishing import Finisher, ImagingPool
from service.gateway.gateway import Gateway
from service.gateway.links import Links
from service.gateway.local_backend import LocalBackend, WorkerPool
from service.governing import opened_governance
from service.imaging.inspect import ImageLimits
from service.imaging.signing import LinkSigner, load_or_create_secret
from service.imaging.store import ImageStore, open_store
from service.routing.route import RoutePolicy
from service.wiring import make_directory, opened_transport, sunset_warnings

log = logging.getLogger("service")

# What a message needs beyond the image in it.
MESSAGE_OVERHEAD_BYTES = 1 << 20
MOST_METADATA_BYTES = 256 << 10
# Files may be fetched for this long after the last link to them has expired; the sweep is not instant.
SWEEP_EVERY_S = 60.0
# Long enough to finish most images, shorter than orchestrators wait before they kill.
DRAIN_S = 25.0

SERVICES = tuple(
    descriptor.services_by_name[name]
    for descriptor, name in (
        (image_variation_service_pb2.DESCRIPTOR, "ImageVariationService"),
        (image_variation_form_service_pb2.DESCRIPTOR, "ImageVariationFormService"),
        (model_service_pb2.DESCRIPTOR, "ModelService"),
        (image_file_service_pb2.DESCRIPTOR, "ImageFileService"),
        (cache_service_pb2.DESCRIPTOR, "CacheService"),
        (access_service_pb2.DESCRIPTOR, "AccessService"),
    )
)
SERVICE_NAMES = tuple(service.full_name for service in SERVICES)


def serve(config: Config) -> None:
    """Serves until SIGINT or SIGTERM, then finishes what is under way.

    Raises:
        SystemExit: It cannot start, with the reason in one line.
    """
    logs.configure(config.log.level)
    memory.give_back_large_blocks()
    if not engine.availability():
        engine.configure(config.engine_cache_path)
    import uvloop

    uvloop.run(_serve(config))


async def _serve(config: Config) -> None:
    stop = asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    async with running(config) as port:
        memory.settle()
        log.info("ready", extra={"fields": {"grpc": f"{config.listen.grpc.host}:{port}", "process": os.getpid()}})
        await stop.wait()
        log.info("draining")


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[int]:
    """The whole service on the current event loop; the value is the gRPC port it listens on.

    Leaving the block refuses new requests and gives those under way ``DRAIN_S`` seconds.

    Raises:
        SystemExit: The address is taken, or a directory cannot be used.
    """
    async with contextlib.AsyncExitStack() as stack:
        limits = ImageLimits(max_pixels=config.limits.image_pixels)
        imaging = ImagingPool(config.engine.worker_count)
        stack.callback(imaging.close)
        store, links = _results(config)
        workers = WorkerPool(config.engine.worker_count)
        stack.callback(workers.close)
        local = LocalBackend(workers, limits)
        governance = await stack.enter_async_context(opened_governance(config))
        caching = await stack.enter_async_context(opened_cache(config, imaging, limits))
        transport = await stack.enter_async_context(opened_transport(config))

        directory = make_directory(config, local, transport.executor)
        warnings = sunset_warnings(directory, datetime.now(UTC).date())
        for target, sentences in warnings.items():
            log.warning(
                "a model is about to end, or has ended",
                extra={"fields": {"model": str(target), "warnings": list(sentences)}},
            )
        for warning in config.warnings:
            log.warning(warning)
        gateway = Gateway(
            directory,
            TargetRunner(directory, imaging, limits, config.default_prompt),
            Finisher(imaging, links, limits),
            limits=limits,
            fetch=transport.fetch_for_caller,
            policy=RoutePolicy(next_after_content_rejected=config.fall_back_when_rejected),
            admission=Admission(directory, governance.governor),
            caching=caching,
        )
        calls = Calls(_call_settings(config), governance.gate)

        server = grpc.aio.server(options=_server_options(config))
        health = HealthServicer()
        variations = Variations(gateway, calls, imaging, most_at_a_time=config.limits.concurrent_requests)
        servicers = (
            ImageVariationServicer(variations),
            ImageVariationFormServicer(variations),
            ModelServicer(directory, warnings, calls),
            ImageFileServicer(links, calls),
            CacheServicer(caching, calls),
            AccessServicer(calls),
        )
        for service, servicer in zip(SERVICES, servicers, strict=True):
            add_servicer(server, service, servicer)
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        reflection.enable_server_reflection((*SERVICE_NAMES, "grpc.health.v1.Health", reflection.SERVICE_NAME), server)
        port = _bind(server, config)
        sweeping = asyncio.create_task(_sweep_for_ever(store))
        stack.callback(sweeping.cancel)
        await server.start()
        for name in SERVICE_NAMES:
            await health.set(name, HealthCheckResponse.SERVING)
        if config.engine.enabled and config.engine.warm_up:
            local.warm_up()
        try:
            yield port
        finally:
            for name in SERVICE_NAMES:
                await health.set(name, HealthCheckResponse.NOT_SERVING)
            await server.stop(DRAIN_S)


def _results(config: Config) -> tuple[ImageStore, Links]:
    lifetime = timedelta(seconds=config.results.expires_after)
    try:
        store = open_store(config.results_location, lifetime=lifetime, max_bytes=config.results.max_bytes)
        if config.results.signing_secret is not None:
            secret = config.results.signing_secret.get_secret_value().encode()
        else:
            secret = load_or_create_secret(Path(config.state_path) / "signing-secret")
    except (OSError, ValueError) as error:
        raise SystemExit(f"Results cannot be stored: {error}") from None
    return store, Links(store, LinkSigner(secret), lifetime=lifetime, public_url=config.listen.public_url)


def _call_settings(config: Config) -> CallSettings:
    return CallSettings(
        longest_s=config.limits.request_timeout,
        base_url=config.listen.public_url or f"http://{config.listen.http}",
        foreign_origins=config.allow_unauthenticated,
    )


def _server_options(config: Config) -> list[tuple[str, int]]:
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


def _bind(server: grpc.aio.Server, config: Config) -> int:
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


async def _sweep_for_ever(store: ImageStore) -> None:
    while True:
        try:
            await store.sweep(datetime.now(UTC))
        except Exception:
            # A failing sweep must not end the next one; the store says what went wrong.
            log.exception("sweep")
        await asyncio.sleep(SWEEP_EVERY_S)
