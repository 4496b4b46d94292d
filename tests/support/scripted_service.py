"""Envoy alone, as rendered, before a service that fails in a way of one's choice: gRPC by hand over HTTP/2."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import httpx
from running_gateway import REPOSITORY, free_ports

from service.cli.envoy import render
from service.config import load

HEALTH = "/grpc.health.v1.Health/Check"
SERVING = b"\x00\x00\x00\x00\x02\x08\x01"
HEADERS = [(":status", "200"), ("content-type", "application/grpc")]


@dataclass
class ScriptedService:
    """A service whose health is good and whose every other answer is ``behaviour``.

    Attributes:
        behaviour: ``refuse`` or ``reset`` the stream, ``close`` the connection, or the status and message of gRPC that
            it answers with, as in ``8 Too many pending requests``.
        asked: The paths of the calls that came, health apart.
    """

    behaviour: str = "reset"
    asked: list[str] = field(default_factory=list)
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._serve_one, args=(connection,), daemon=True).start()

    def _serve_one(self, connection: socket.socket) -> None:
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        state.initiate_connection()
        paths: dict[int, str] = {}
        with contextlib.suppress(OSError, h2.exceptions.ProtocolError), connection:
            connection.sendall(state.data_to_send())
            while data := connection.recv(65536):
                for event in state.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        paths[event.stream_id] = {str(name): str(value) for name, value in event.headers}[":path"]
                    elif isinstance(event, h2.events.StreamEnded) and not self._answer(state, event.stream_id, paths):
                        return
                connection.sendall(state.data_to_send())

    def _answer(self, state: h2.connection.H2Connection, stream: int, paths: dict[int, str]) -> bool:
        """Answers one call; False where the connection is to end instead."""
        if paths[stream] == HEALTH:
            state.send_headers(stream, HEADERS)
            state.send_data(stream, SERVING)
            state.send_headers(stream, [("grpc-status", "0")], end_stream=True)
            return True
        self.asked.append(paths[stream])
        if self.behaviour == "close":
            return False
        if self.behaviour in ("refuse", "reset"):
            errors = h2.errors.ErrorCodes
            state.reset_stream(stream, errors.REFUSED_STREAM if self.behaviour == "refuse" else errors.INTERNAL_ERROR)
        else:
            status, _, message = self.behaviour.partition(" ")
            state.send_headers(stream, [*HEADERS, ("grpc-status", status), ("grpc-message", message)], end_stream=True)
        return True


@contextlib.contextmanager
def envoy_before(service: ScriptedService, directory: Path) -> Iterator[str]:
    """Starts Envoy before it; the value is where its REST side is reached."""
    http_port = free_ports(1)[0]
    configuration = directory / "envoy.yaml"
    configuration.write_text(render(load(None, {"HTTP_PORT": str(http_port), "GRPC_PORT": str(service.port)})))
    threading.Thread(target=service.serve, daemon=True).start()
    command = [str(Path(sys.executable).with_name("envoy")), "--config-path", str(configuration)]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--disable-hot-restart", "--log-level", "error"], cwd=REPOSITORY, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{http_port}"
    try:
        end = time.monotonic() + 30
        while not _is_ready(url):
            assert time.monotonic() < end, (directory / "log").read_text()
            time.sleep(0.05)  # noqa: TID251 - waits for another process, not on an event loop
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)
        service.listener.close()


def _is_ready(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200
    return False
