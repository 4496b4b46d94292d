"""A real cluster of Redis or Valkey on loopback: three servers with slots, and one that stands by for the first.

Also servers with sentinels. In a test: ``from redis_cluster import redis_cluster, redis_sentinels  # noqa: F401``.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis_server import server_binary

_STARTS_WITHIN_S = 30.0
_NODE_TIMEOUT_MS = "800"
_SLOTS = (range(5461), range(5461, 10923), range(10923, 16384))


class Node:
    """One server of a cluster, or one of those around a sentinel."""

    def __init__(self, directory: Path, *arguments: str, first: str = "") -> None:
        directory.mkdir(parents=True)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        with (directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    server_binary(),
                    *([first] if first else []),
                    "--port",
                    str(self.port),
                    *("--bind", "127.0.0.1", "--dir", str(directory), "--save", ""),
                    *arguments,
                ],
                stdout=log,
                stderr=log,
            )
        self._log = directory / "log"

    def command(self, *words: str) -> str:
        """The beginning of the raw answer to one command."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            encoded = [word.encode() for word in words]
            connection.sendall(
                b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
            )
            return connection.recv(65536).decode()

    def must(self, *words: str) -> str:
        answer = self.command(*words)
        if answer.startswith("-"):
            raise RuntimeError(f"{' '.join(words)}: {answer}")
        return answer

    def freeze(self) -> None:
        """Makes it a server that takes connections and never answers, until ``thaw``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Cluster:
    """``url`` names only the first server: the others are found."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        # The second one lives on when the first has been killed.
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port},127.0.0.1:{self.nodes[1].port}"

    def slot_owner(self, slot: int) -> Node:
        return next(node for node, slots in zip(self.nodes, _SLOTS, strict=False) if slot in slots)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool]) -> None:
    """Waits until something has come about."""
    pause = threading.Event()
    for _ in range(int(_STARTS_WITHIN_S / 0.05)):
        with contextlib.suppress(OSError):
            if condition():
                return
        pause.wait(0.05)
    raise RuntimeError("the servers did not come about in time")


@pytest.fixture(scope="module")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests of the module, which choose names of their own."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def own_redis_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """One whose servers the test may kill."""
    with running_cluster(tmp_path) as cluster:
        yield cluster


@contextlib.contextmanager
def running_cluster(directory: Path) -> Iterator[Cluster]:
    nodes: list[Node] = []
    try:
        bus_ports = [free_port() for _ in range(4)]
        for number, bus_port in enumerate(bus_ports):
            nodes.append(
                Node(
                    directory / f"node-{number}",
                    *("--cluster-enabled", "yes", "--cluster-node-timeout", _NODE_TIMEOUT_MS),
                    *("--cluster-port", str(bus_port), "--appendonly", "no", "--repl-diskless-sync-delay", "0"),
                )
            )
        for node in nodes:
            until(lambda node=node: node.command("PING").startswith("+PONG"))  # type: ignore[misc]
        for node, slots in zip(nodes, _SLOTS, strict=False):
            node.must("CLUSTER", "ADDSLOTSRANGE", str(slots[0]), str(slots[-1]))
        for node, bus_port in zip(nodes[1:], bus_ports[1:], strict=True):
            nodes[0].must("CLUSTER", "MEET", "127.0.0.1", str(node.port), str(bus_port))
        for node in nodes:
            until(lambda node=node: "cluster_known_nodes:4" in node.command("CLUSTER", "INFO"))  # type: ignore[misc]
        first_id = nodes[0].must("CLUSTER", "MYID").splitlines()[1]
        until(lambda: first_id in nodes[3].command("CLUSTER", "NODES"))
        nodes[3].must("CLUSTER", "REPLICATE", first_id)
        until(lambda: "master_link_status:up" in nodes[3].command("INFO", "replication"))
        for node in nodes:
            until(lambda node=node: "cluster_state:ok" in node.command("CLUSTER", "INFO"))  # type: ignore[misc]
        yield Cluster(nodes)
    finally:
        for node in nodes:
            node.kill()


class Sentinels:
    """A server called ``pictures``, one that stands by, and three sentinels."""

    def __init__(self, servers: list[Node], sentinels: list[Node]) -> None:
        self.servers, self.sentinels = servers, sentinels

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{hosts}/pictures/0"


@pytest.fixture
def redis_sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    """Fresh and empty."""
    nodes: list[Node] = []
    try:
        first = Node(tmp_path / "first")
        nodes.append(first)
        standby = Node(
            tmp_path / "standby", "--replicaof", f"127.0.0.1 {first.port}", "--repl-diskless-sync-delay", "0"
        )
        nodes.append(standby)
        until(lambda: "master_link_status:up" in standby.command("INFO", "replication"))
        for number in range(3):
            settings = tmp_path / f"sentinel-{number}.conf"
            settings.write_text(
                f"sentinel monitor pictures 127.0.0.1 {first.port} 2\n"
                "sentinel down-after-milliseconds pictures 800\n"
                "sentinel failover-timeout pictures 3000\n"
            )
            nodes.append(Node(tmp_path / f"sentinel-{number}", "--sentinel", first=str(settings)))
        sentinels = nodes[2:]
        for each in sentinels:
            until(lambda each=each: "slaves=1,sentinels=3" in each.command("INFO", "sentinel"))  # type: ignore[misc]
        yield Sentinels(nodes[:2], sentinels)
    finally:
        for node in nodes:
            node.kill()
