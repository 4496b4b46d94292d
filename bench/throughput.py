"""The comparison: the gateway through Envoy and over gRPC, the floor beside it, and the peers when they are wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from bench import peers
from bench.load import Goal
from bench.payloads import Payload, form, grpc_message, png
from bench.rounds import Contender, Sample, interleaved
from bench.systems import GRPC_METHOD, System, check, floor, gateway, upstream
from bench.upstream import PICTURE

CLIENTS = (1, 16)
IMAGE_BYTES = 100_000


def upload(image: bytes, *, model: str = "production", n: int = 1, **more: str) -> Payload:
    """The form that every system is sent."""
    return form(image, model=model, n=str(n), size="256x256", response_format="b64_json", **more)


def through_http(system: System, payload: Payload) -> Contender:
    """A system's REST side, after one request has shown that it does its work."""
    check(system, payload)
    goal = Goal(system.url, payload, len(PICTURE), system.headers)
    return Contender(system.name, goal, system.processes["all"], system.processes.get("service", ()))


def through_grpc(system: System, image: bytes) -> Contender:
    """The gateway without Envoy, asked by the typed method."""
    payload = grpc_message(image, model="production", n=1, size="256x256")
    service = system.processes["service"]
    goal = Goal(system.grpc + GRPC_METHOD, payload, len(PICTURE), system.headers)
    return Contender("gateway-grpc", goal, service, service)


def nothing_between(upstream_url: str) -> System:
    """The upstream itself: what a request takes without any gateway."""
    return System("upstream", f"{upstream_url}/v1/images/variations", {"all": []})


def compare(
    directory: Path, *, rounds: int, seconds: float, with_peers: bool, tell: Callable[[str], None]
) -> list[Sample]:
    """Every system at every number of clients, in interleaved rounds."""
    image = png(IMAGE_BYTES)
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(upstream(directory))
        own = stack.enter_context(gateway(url, directory))
        contenders = [
            through_http(nothing_between(url), upload(image)),
            through_http(own, upload(image)),
            through_grpc(own, image),
            through_http(stack.enter_context(floor(url, directory)), upload(image)),
        ]
        if with_peers:
            portkey = stack.enter_context(peers.portkey(url, directory))
            litellm = stack.enter_context(peers.litellm(url, directory))
            contenders += [
                through_http(portkey, upload(image, model="dall-e-2")),
                through_http(litellm, upload(image, model="dall-e-2", prompt="a cat")),
                through_http(peers.passing_through(litellm), upload(image, model="dall-e-2")),
            ]
        return interleaved(contenders, clients=CLIENTS, rounds=rounds, seconds=seconds, tell=tell)
