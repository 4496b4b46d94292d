"""Single figures: cold start, the first image of a stream, ten images, a cache hit, memory at rest and later."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.bench_cache_hit import RE_ENCODED, SAME_FILE, direct_hits
from bench.load import Goal, run
from bench.payloads import grpc_message, png
from bench.processes import resident_mb
from bench.rounds import Contender, Sample, measured
from bench.systems import GRPC_METHOD, System, gateway, start_service, upstream
from bench.throughput import IMAGE_BYTES, through_http, upload
from bench.upstream import PICTURE

# A model that makes one image a call: ten of them are ten calls.
_ONE_A_CALL = "second/one-a-call"


@dataclass(frozen=True, slots=True)
class Moments:
    """All in milliseconds, seconds or MB, as their names say.

    Attributes:
        fan_out_ms: n=10 at a model that makes one image a call.
        first_image_ms: Until the first image of such a request, streamed; ``last_image_ms``: until the last.
        cache_hit_ms: A direct hit over gRPC, ``cache_hit_rest_ms`` through Envoy; p50 with one client, of a file that
            was sent before. ``cache_hit_decoded_ms``: of a file that was not, whose picture is known once decoded;
            what that takes longer, as a Python client sees it, is added to the time of the load generator's.
        start_s: From the start of the service's process to its readiness.
        idle_mb: The service alone, at rest, its engine not yet loaded.
        grown_mb: How much more it holds after 10,000 requests than after 2,000.
    """

    fan_out_ms: float
    first_image_ms: float
    last_image_ms: float
    cache_hit_ms: float
    cache_hit_rest_ms: float
    cache_hit_decoded_ms: float
    start_s: float
    idle_mb: float
    grown_mb: float


def moments(directory: Path) -> Moments:
    """Measures them all."""
    image = png(IMAGE_BYTES)
    start_s = statistics.median(start_service(directory) for _ in range(5))
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(upstream(directory))
        system = stack.enter_context(gateway(url, directory))
        idle = resident_mb(system.processes["service"])
        fan_out = upload(image, model=_ONE_A_CALL, n=10)
        fan_out_ms = run(Goal(system.url, fan_out, 10 * len(PICTURE), system.headers), clients=1, requests=100).p50_ms
        first, last = _streamed(system, image)
        grown = _growth(system, image)
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(upstream(directory))
        system = stack.enter_context(gateway(url, directory, cached=True))
        rest = through_http(system, upload(image))
        hit_rest = run(rest.goal, clients=1, requests=300).p50_ms
        payload = grpc_message(image, model="production", n=1, size="256x256")
        goal = Goal(system.grpc + GRPC_METHOD, payload, len(PICTURE), system.headers)
        hit = run(goal, clients=1, requests=300).p50_ms
    hits = direct_hits(directory, rounds=3)
    decoded = hit + hits[RE_ENCODED] - hits[SAME_FILE]
    return Moments(fan_out_ms, first, last, hit, hit_rest, decoded, start_s, idle, grown)


def growth(directory: Path, clients: tuple[int, ...] = (1, 16, 64, 256)) -> list[Sample]:
    """Latency and memory with more and more requests at once, each of which the upstream takes 200 ms for."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(upstream(directory))
        system = stack.enter_context(gateway(f"{url}/delay-200", directory))
        contender: Contender = through_http(system, upload(png(IMAGE_BYTES)))
        return [measured(contender, clients=count, requests=max(20, 6 * count)) for count in clients]


def _streamed(system: System, image: bytes) -> tuple[float, float]:
    """Milliseconds until the first and the last image of ten, as Server-Sent Events through Envoy; medians of 20."""
    payload = upload(image, model=_ONE_A_CALL, n=10)
    headers = {**system.headers, "content-type": payload.content_type}
    firsts, lasts = [], []
    with httpx.Client(timeout=60, trust_env=False) as client:
        for _ in range(20):
            begun = time.perf_counter()
            with client.stream("POST", f"{system.url}:stream", content=payload.body, headers=headers) as answer:
                times = [
                    (time.perf_counter() - begun) * 1000
                    for line in answer.iter_lines()
                    if line.startswith("data:") and json.loads(line[5:])["type"].endswith("image_completed")
                ]
            if len(times) != 10:
                raise RuntimeError(f"{len(times)} of 10 images came")
            firsts.append(times[0])
            lasts.append(times[-1])
    return statistics.median(firsts), statistics.median(lasts)


def _growth(system: System, image: bytes) -> float:
    goal = Goal(system.url, upload(image), len(PICTURE), system.headers)
    run(goal, clients=16, requests=2_000)
    before = resident_mb(system.processes["service"])
    run(goal, clients=16, requests=8_000)
    return resident_mb(system.processes["service"]) - before
