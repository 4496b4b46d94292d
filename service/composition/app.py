"""The composition root: makes every part out of the configuration, wires them, starts, and drains."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse

from service import engine
from service.api.access_servicer import AccessServicer
from service.api.cache_servicer import CacheServicer
from service.api.calls import Calls, CallSettings
from service.api.image_file_servicer import ImageFileServicer
from service.api.model_servicer import ModelServicer
from service.api.reflection import enable_reflection
from service.api.unread import add_servicer
from service.api.variation_servicers import ImageVariationRestServicer, ImageVariationServicer
from service.api.variations import Variations
from service.composition import crops, logs, memory
from service.composition.cache import opened_cache
from service.composition.directory import make_breakers, make_directory, model_warnings
from service.composition.drain import LIVENESS, Drain, DrainTimes
from service.composition.governance import opened_governance
from service.composition.observation import opened_metrics
from service.composition.provenance import make_marker
from service.composition.readiness import watching_results
from service.composition.results import open_results, sweeping
from service.composition.secrets import REREAD_EVERY_S, SecretFiles
from service.composition.server import SERVICE_NAMES, SERVICES, bind, server_options
from service.composition.signals import StopSignals
from service.composition.transport import opened_transport
from service.concurrency.machine import allow_files
from service.concurrency.pools import ImagingPool, MemoryBudget, WorkerPool
from service.concurrency.tasks import repeating
from service.config import Config
from service.gateway.admission import Admission
from service.gateway.backends.local import LocalBackend
from service.gateway.delivery.finishing import Finisher
from service.gateway.events import ignore
from service.gateway.gateway import Gateway
from service.gateway.once import OnceRunner
from service.gateway.target_runner import TargetRunner
from service.governance.load import LoadLimiter, LoadLimits
from service.imaging.inspect import ImageLimits
from service.observation.circuits import CircuitCollector
from service.observation.metrics import Metrics, known_targets
from service.routing.route import RoutePolicy

log = logging.getLogger("service")

# Health names that mean readiness. The empty one, the server as a whole, is what Kubernetes asks for by default.
_READINESS = (*SERVICE_NAMES, "")
# Downloads of callers' images at a time.
_FEWEST_DOWNLOADS, _MOST_DOWNLOADS = 4, 32


def serve(config: Config) -> None:
    """Serves until SIGINT or SIGTERM, then finishes what is under way.

    Raises:
        SystemExit: It cannot start, with the reason in one line.
    """
    logs.configure(config.log.level)
    memory.give_back_large_blocks()
    allow_files()
    if not engine.availability():
        engine.configure(config.engine_cache_path)
    import uvloop

    uvloop.run(_serve(config))


async def _serve(config: Config) -> None:
    signals = StopSignals()
    signals.listen()
    async with running(config, signals) as port:
        memory.settle()
        log.info("ready", extra={"fields": {"grpc": f"{config.listen.grpc.host}:{port}", "process": os.getpid()}})
        await signals.stop()
        log.info("draining")


@contextlib.asynccontextmanager
async def running(config: Config, signals: StopSignals) -> AsyncIterator[int]:
    """The whole service on the current event loop; the value is the gRPC port it listens on.

    Leaving the block drains it, as ``Drain`` tells.

    Args:
        signals: Say how patiently it is drained.

    Raises:
        SystemExit: The address is taken, or a directory cannot be used.
    """
    async with contextlib.AsyncExitStack() as stack:
        limits = ImageLimits(max_pixels=config.limits.image_pixels)
        memory_budget = MemoryBudget(config.limits.memory_bytes)
        imaging = ImagingPool(config.engine.worker_count, memory_budget)
        stack.callback(imaging.close)
        store, links = open_results(config)
        workers = WorkerPool(config.engine.worker_count, memory_budget)
        stack.callback(workers.close)
        local = LocalBackend(workers, limits)
        governance = await stack.enter_async_context(opened_governance(config))
        caching = await stack.enter_async_context(opened_cache(config, imaging, limits))
        transport = await stack.enter_async_context(opened_transport(config))

        secret_files = SecretFiles()
        breakers = make_breakers(config)
        directory = make_directory(config, local, transport.executor, secret_files, breakers)
        metrics = Metrics(directory.providers) if config.listen.metrics else None
        await stack.enter_async_context(
            repeating(secret_files.reread, name="reading secrets anew", every_s=REREAD_EVERY_S)
        )
        limitations = () if engine.availability() else engine.limitations()
        warnings = model_warnings(directory, datetime.now(UTC).date(), limitations)
        for target, sentences in warnings.items():
            log.warning(
                "there is something to know about a model",
                extra={"fields": {"model": str(target), "warnings": list(sentences)}},
            )
        for warning in config.warnings:
            log.warning(warning)

        async def fetch(url: str) -> bytes:
            own = await links.read_own(url)
            return await transport.fetch_for_caller(url) if own is None else own

        detector = crops.detector()
        gateway = Gateway(
            directory,
            TargetRunner(directory, imaging, limits, config.default_prompt, detector),
            Finisher(imaging, links, limits, detector, make_marker(config)),
            limits=limits,
            fetch=fetch,
            policy=RoutePolicy(
                next_after_content_rejected=config.fall_back_when_rejected,
                target_time_share=config.timeouts.target_share,
            ),
            admission=Admission(directory, governance.governor),
            caching=caching,
            observe=metrics.happened if metrics else ignore,
        )
        calls = Calls(_call_settings(config), governance.gate, metrics.call_ended if metrics else None)

        server = grpc.aio.server(options=server_options(config))
        health = HealthServicer()
        once = OnceRunner(governance.idempotency)
        load = LoadLimiter(_load_limits(config))
        variations = Variations(
            gateway,
            calls,
            imaging,
            load,
            LoadLimiter(_download_limits(config)),
            config.limits.request_bytes,
            once,
        )
        servicers = (
            ImageVariationServicer(variations),
            ImageVariationRestServicer(variations),
            ModelServicer(directory, warnings, calls),
            ImageFileServicer(links, calls),
            CacheServicer(caching, calls),
            AccessServicer(calls),
        )
        for service, servicer in zip(SERVICES, servicers, strict=True):
            add_servicer(server, service, servicer)
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        enable_reflection(server, (*SERVICE_NAMES, "grpc.health.v1.Health"))
        port = bind(server, config)
        await stack.enter_async_context(sweeping(store))
        if metrics is not None:
            metrics.registry.register(CircuitCollector(known_targets(directory.providers), breakers.state))
        gauges: dict[tuple[str, str], Callable[[], float]] = {
            ("requests_in_flight", "Calls that have begun and not ended."): lambda: len(calls.under_way),
            ("admitted_requests", "Requests for variations at work."): lambda: load.requests,
            ("admitted_bytes", "Bytes that requests at work are counted with."): lambda: load.bytes,
            ("waiting_requests", "Requests that wait for room."): lambda: load.waiting,
            ("engine_queue_jobs", "Work that waits for a thread of the embedded engine."): lambda: workers.waiting,
            ("imaging_queue_jobs", "Decoding and encoding that waits for a thread."): lambda: imaging.waiting,
        }
        await stack.enter_async_context(opened_metrics(config, metrics, gauges))
        await stack.enter_async_context(watching_results(health, links))
        await server.start()
        for name in (*_READINESS, LIVENESS):
            await health.set(name, HealthCheckResponse.SERVING)
        drain = Drain(server, health, _READINESS, calls.under_way, once, _drain_times(config))
        if config.engine.enabled and config.engine.warm_up:
            local.warm_up()
        try:
            yield port
        finally:
            await drain.run(signals)


def _drain_times(config: Config) -> DrainTimes:
    return DrainTimes(config.drain.lame_duck, config.drain_s)


def _load_limits(config: Config) -> LoadLimits:
    limits = config.limits
    return LoadLimits(
        limits.concurrent_requests,
        limits.memory_bytes,
        limits.share_per_key,
        limits.waiting_requests,
        limits.longest_wait,
    )


def _download_limits(config: Config) -> LoadLimits:
    """Few downloads of callers' images at a time, on a small machine fewer: each may hold the largest image."""
    limits = config.limits
    downloads = max(_FEWEST_DOWNLOADS, min(_MOST_DOWNLOADS, limits.memory_bytes // (4 * limits.request_bytes)))
    return LoadLimits(
        downloads,
        downloads * limits.request_bytes,
        limits.share_per_key,
        limits.waiting_requests,
        limits.longest_wait,
    )


def _call_settings(config: Config) -> CallSettings:
    return CallSettings(
        longest_s=config.limits.request_timeout,
        base_url=config.listen.public_url or f"http://{config.listen.http}",
        foreign_origins=config.allow_unauthenticated,
    )
