"""A whole gateway, service and Envoy, as child processes on free ports: what users run, as users run it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).parents[2]
READY_WITHIN_S = 60.0


@dataclass(frozen=True)
class RunningGateway:
    """The address of a gateway, and what it has written to its log so far."""

    url: str
    grpc: str
    directory: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(encoding="utf-8")

    def log_lines(self, source: str) -> list[dict[str, object]]:
        """The JSON lines that one part wrote: ``service.access``, ``envoy`` and so on."""
        lines = []
        for text in self.log.splitlines():
            with contextlib.suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict) and line.get("from") == source:
                    lines.append(line)
        return lines


@contextlib.contextmanager
def running_gateway(
    directory: Path,
    configuration: str = "",
    environment: Mapping[str, str] | None = None,
    *,
    before: Sequence[str] = (),
) -> Iterator[RunningGateway]:
    """Starts ``python -m service up`` in a directory of its own and stops it in the end, as Ctrl-C would.

    Args:
        configuration: The text of its gateway.yaml.
        environment: Further environment variables; the vendors' keys of whoever runs the tests are left out.
        before: A command that runs it, in the same process.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "gateway.yaml").write_text(configuration, encoding="utf-8")
    http_port, grpc_port = free_ports(2)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "service", "up", "--config", "gateway.yaml"],
            cwd=directory,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(directory),
                "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'gen' / 'python'}",
                # Shared, so that the engine compiles once for all of them.
                "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", str(REPOSITORY / ".gateway" / "cache")),
                "HTTP_PORT": str(http_port),
                "GRPC_PORT": str(grpc_port),
                **(environment or {}),
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    gateway = RunningGateway(f"http://127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}", directory, process)
    try:
        _wait_until_ready(gateway)
        yield gateway
    finally:
        process.send_signal(signal.SIGINT)
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            # A test may have left work that never ends.
            process.send_signal(signal.SIGINT)
            process.wait(timeout=40)
        finally:
            process.kill()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_until_ready(gateway: RunningGateway) -> None:
    end = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < end:
        if gateway.process.poll() is not None:
            break
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{gateway.url}/readyz", timeout=2, trust_env=False).status_code == 200:
                return
        time.sleep(0.05)  # noqa: TID251 - waits for another process, not on an event loop
    raise AssertionError(f"the gateway did not become ready:\n{gateway.log}")
