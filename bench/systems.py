"""The measured systems: the gateway, its floor, and the peers; each is started alone on its own ports."""

from __future__ import annotations

import base64
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from grpc import RpcError, insecure_channel
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.payloads import Payload
from bench.processes import answers, command_of, family, free_ports, running, wait_until
from bench.upstream import PICTURE
from service.cli.envoy import render
from service.config import load

REPOSITORY = Path(__file__).parents[1]
GRPC_METHOD = "/imagevariations.v1.ImageVariationService/CreateImageVariation"
FORM_METHOD = "/imagevariations.v1.ImageVariationRestService/CreateImageVariationFromBody"

_KEY = "sk-bf-5c1b27e0f9a34d688e2d7a90b3c4f516"
_HEADERS = {"authorization": f"Bearer {_KEY}"}
# Everything that a production set-up has: a caller's key to check, a route of several targets, a provider's keys.
_CONFIGURATION = """
listen: {{http: "127.0.0.1:{http}", grpc: "127.0.0.1:{grpc}"}}
limits: {{concurrent_requests: 1000}}
default_route: production
aliases:
  production: [first/dall-e-2, second/dall-e-2]
providers:
  first:
    type: gateway
    base_url: {upstream}
    keys: [{{name: main, value: sk-upstream}}, {{name: spare, value: sk-spare, weight: 0}}]
  second: {{type: gateway, base_url: "{upstream}", models: {{one-a-call: {{max_n: 1}}}}}}
keys: [{{name: bench, value: {key}}}]
engine: {{warm_up: {warm_up}}}
cache: {{enabled: {cached}}}
"""


@dataclass(frozen=True, slots=True)
class System:
    """Something that makes variations, running.

    Attributes:
        url: Where multipart forms go.
        grpc: Base URL of its gRPC side; empty where it has none.
        processes: Process ids by part; ``all`` is every process that belongs to it.
        headers: What its requests need.
    """

    name: str
    url: str
    processes: Mapping[str, list[int]]
    grpc: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


Start = Callable[[str, Path], AbstractContextManager[System]]
"""Starts a system in front of an upstream's base URL, with a directory for what it writes."""


@contextlib.contextmanager
def upstream(directory: Path) -> Iterator[str]:
    """The fast provider; the value is its base URL."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "bench.upstream", str(port)]
    with running(command, directory / "upstream.log", cwd=REPOSITORY, environment=_paths()):
        wait_until(lambda: answers(port), "the upstream does not answer")
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def gateway(upstream_url: str, directory: Path, *, warm_up: bool = False, cached: bool = False) -> Iterator[System]:
    """The service with Envoy, as ``make run`` starts it.

    Args:
        warm_up: Whether the embedded engine is got ready too. It serves none of this load, and compiling beside a
            measurement would spoil it.
        cached: Whether results are served again.
    """
    http, grpc = free_ports(2)
    directory.mkdir(exist_ok=True)
    (directory / "gateway.yaml").write_text(
        _CONFIGURATION.format(
            http=http,
            grpc=grpc,
            upstream=f"{upstream_url}/v1",
            key=_KEY,
            warm_up=str(warm_up).lower(),
            cached=str(cached).lower(),
        )
    )
    command = [sys.executable, "-m", "service", "up", "--config", "gateway.yaml"]
    with running(command, directory / "gateway.log", cwd=directory, environment=_paths()) as pid:
        _wait_until_ready(http, directory / "gateway.log")
        every = family(pid)
        parts = {
            "service": [each for each in every if "service serve" in command_of(each)],
            "envoy": [each for each in every if "--config-path" in command_of(each)],
            "all": every,
        }
        url = f"http://127.0.0.1:{http}/v1/images/variations"
        yield System("gateway", url, parts, f"http://127.0.0.1:{grpc}", _HEADERS)


def start_service(directory: Path) -> float:
    """Starts the service alone, with its engine, and stops it; returns the seconds until it took requests."""
    (grpc,) = free_ports(1)
    (directory / "start.yaml").write_text(f'listen: {{grpc: "127.0.0.1:{grpc}"}}\n')
    command = [sys.executable, "-m", "service", "serve", "--config", "start.yaml"]
    with running(command, directory / "start.log", cwd=directory, environment=_paths()):
        return wait_until(lambda: _serves(grpc), "the service does not serve")


def _serves(port: int) -> bool:
    if not answers(port):
        return False
    with insecure_channel(f"127.0.0.1:{port}") as channel:
        asked = health_pb2.HealthCheckRequest(service="imagevariations.v1.ImageVariationService")
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=5)  # type: ignore[attr-defined]
        except RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@contextlib.contextmanager
def floor(upstream_url: str, directory: Path) -> Iterator[System]:
    """The bare servicer of floor.py behind an Envoy with the gateway's own configuration."""
    http, grpc = free_ports(2)
    configuration = directory / "floor.yaml"
    configuration.write_text(f'listen: {{http: "127.0.0.1:{http}", grpc: "127.0.0.1:{grpc}"}}\n')
    envoy = directory / "floor-envoy.yaml"
    envoy.write_text(render(load(configuration, {})))
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-m", "bench.floor", str(grpc), f"{upstream_url}/v1"]
        log = directory / "floor.log"
        service = stack.enter_context(running(command, log, cwd=REPOSITORY, environment=_paths()))
        command = [
            str(Path(sys.executable).with_name("envoy")),
            *("--config-path", str(envoy), "--disable-hot-restart", "--log-level", "error"),
        ]
        front = stack.enter_context(running(command, directory / "floor-envoy.log", cwd=directory))
        _wait_until_ready(http, log)
        parts = {"service": [service], "envoy": [front], "all": [service, front]}
        yield System("floor", f"http://127.0.0.1:{http}/v1/images/variations", parts, f"http://127.0.0.1:{grpc}")


def check(system: System, payload: Payload) -> None:
    """Sends one form and looks whether the upstream's picture comes back, and nothing made of it.

    Raises:
        RuntimeError: It does not.
    """
    headers = {**system.headers, "content-type": payload.content_type}
    answer = httpx.post(system.url, content=payload.body, headers=headers, timeout=60, trust_env=False)
    if answer.status_code != 200 or base64.b64decode(answer.json()["data"][0]["b64_json"]) != PICTURE:
        raise RuntimeError(f"{system.name} answered {answer.status_code}: {answer.text[:500]}")


def _wait_until_ready(http: int, log: Path) -> None:
    def ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{http}/readyz", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(ready, "not ready")
    except TimeoutError as error:
        raise SystemExit(f"{error}:\n{log.read_text()[-3000:]}") from None


def _paths() -> dict[str, str]:
    return {
        "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'gen' / 'python'}",
        "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", str(REPOSITORY / ".gateway" / "cache")),
    }
