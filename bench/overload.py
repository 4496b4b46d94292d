"""Far more clients than the gateway has room for: who is served, who is refused, how soon, and with what status.

A provider that takes 20 ms, a gateway as users start it (service and Envoy), and a crowd whose every client sends its
next request as soon as it has an answer, or when a refusal tells it to. Beside the crowd, ten clients that ask once in
two seconds: in the second configuration they have a key of their own.

    python -m bench.overload [--clients 1000] [--seconds 30] [--relentless]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from bench.payloads import form, small_png
from bench.processes import answers, family, free_ports, peak_mb, running, wait_until

_REPOSITORY = Path(__file__).parents[1]
_PATH = "/v1/images/variations"
_QUIET_CLIENTS, _QUIET_PAUSE_S = 10, 2.0
_PATIENCE_S = 60.0
_CROWD_KEY, _SMALL_KEY = "sk-bf-crowd-" + "c" * 40, "sk-bf-small-" + "s" * 40


@dataclass(slots=True)
class Seen:
    """What a group of clients saw: the milliseconds of every answer, by its status; 0: the connection broke."""

    milliseconds: dict[int, list[float]] = field(default_factory=dict)
    without_retry_after: Counter[int] = field(default_factory=Counter)
    texts: dict[int, bytes] = field(default_factory=dict)

    def add(self, status: int, seconds: float, head: bytes, body: bytes) -> None:
        self.milliseconds.setdefault(status, []).append(seconds * 1000)
        if status in (429, 503) and b"\r\nretry-after:" not in head:
            self.without_retry_after[status] += 1
        if status != 200:
            self.texts.setdefault(status, body[:300])

    def lines(self) -> Iterator[str]:
        for status, times in sorted(self.milliseconds.items()):
            times.sort()
            p99 = times[min(len(times) - 1, int(0.99 * len(times)))]
            missing = self.without_retry_after[status]
            note = f", {missing} without retry-after" if missing else ""
            yield f"  {status or 'broken'}: {len(times)}, p50 {statistics.median(times):.0f} ms, p99 {p99:.0f} ms{note}"
            if status in self.texts and status != 429:
                yield f"    {self.texts[status]!r}"


def _request(port: int, key: str) -> bytes:
    payload = form(small_png(256))
    credential = f"authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST {_PATH} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{credential}"
        f"content-type: {payload.content_type}\r\ncontent-length: {len(payload.body)}\r\n\r\n"
    )
    return head.encode() + payload.body


async def _client(port: int, message: bytes, seen: Seen, *, end: float, pause_s: float, obey: bool) -> None:
    """One client on its own connection, which it opens anew where it breaks."""
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    try:
        while time.monotonic() < end:
            begun = time.monotonic()
            head, body, status = b"", b"", 0
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    if connection is None:
                        connection = await asyncio.open_connection("127.0.0.1", port)
                    reader, writer = connection
                    writer.write(message)
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    body = await _body(reader, head)
                    status = int(head[9:12])
                    if b"\r\nconnection: close" in head:
                        writer.close()
                        connection = None
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                body = repr(error).encode()
                if connection is not None:
                    connection[1].close()
                connection = None
            seen.add(status, time.monotonic() - begun, head, body)
            told = head.partition(b"\r\nretry-after: ")[2].partition(b"\r\n")[0]
            if not status or pause_s or (told and obey):
                await asyncio.sleep(pause_s or float(told or 0.1))
    finally:
        if connection is not None:
            connection[1].close()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if b"\r\ntransfer-encoding: chunked" in head:
        pieces = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            pieces.append(await reader.readexactly(size + 2))
        await reader.readexactly(2)
        return b"".join(pieces)
    length = head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
    return await reader.readexactly(int(length or 0))


async def _crowd(port: int, clients: int, seconds: float, keys: tuple[str, str], *, obey: bool) -> tuple[Seen, Seen]:
    crowd, quiet = Seen(), Seen()
    end = time.monotonic() + seconds
    loud, small = _request(port, keys[0]), _request(port, keys[1])
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(_client(port, loud, crowd, end=end, pause_s=0.0, obey=obey))
        for _ in range(_QUIET_CLIENTS):
            group.create_task(_client(port, small, quiet, end=end, pause_s=_QUIET_PAUSE_S, obey=obey))
    return crowd, quiet


def _measure(name: str, settings: Mapping[str, Any], keys: tuple[str, str], given: argparse.Namespace) -> None:
    upstream, http, grpc = free_ports(3)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider = {
            "type": "deepinfra",
            "base_url": f"http://127.0.0.1:{upstream}/delay-20",
            "keys": ["key-of-a-double"],
        }
        document = {
            "providers": {"slow": provider},
            "default_route": "slow/any",
            "engine": {"enabled": False},
            **settings,
        }
        (directory / "gateway.yaml").write_text(yaml.safe_dump(document))
        path = f"{_REPOSITORY}:{_REPOSITORY / 'gen' / 'python'}"
        environment = {"PYTHONPATH": path, "HTTP_PORT": str(http), "GRPC_PORT": str(grpc)}
        double = [sys.executable, "-m", "bench.upstream", str(upstream)]
        stack.enter_context(running(double, directory / "double.log", cwd=_REPOSITORY))
        command = [sys.executable, "-m", "service", "up", "--config", "gateway.yaml"]
        process = stack.enter_context(running(command, directory / "log", cwd=directory, environment=environment))
        wait_until(lambda: answers(upstream), "the provider answers")
        wait_until(lambda: _is_ready(http), "the gateway is ready")
        _, alone = asyncio.run(_crowd(http, 0, 6.0, keys, obey=True))
        crowd, quiet = asyncio.run(_crowd(http, given.clients, given.seconds, keys, obey=not given.relentless))
        memory_mb = peak_mb(family(process))
        log = (directory / "log").read_text(errors="replace")
    print(f"{name}: {given.clients} clients for {given.seconds:g} s; peak memory, Envoy's included: {memory_mb:.0f} MB")
    groups = {"ten quiet clients, alone": alone, "the crowd": crowd, "ten quiet clients beside it": quiet}
    for who, seen in groups.items():
        print(f" {who}:", *seen.lines(), sep="\n")
    errors = [line for line in log.splitlines() if '"ERROR"' in line or "Traceback" in line]
    print(f" errors in the log: {len(errors)}", *errors[:3], sep="\n  ", flush=True)


def _is_ready(port: int) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=2).status_code == 200
    return False


def main() -> None:
    """Measures the default configuration, and one with keys and a cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--relentless", action="store_true", help="ask again at once after a refusal")
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _measure("default", {}, ("", ""), given)
    guarded = {
        "keys": [{"name": "crowd", "value": _CROWD_KEY}, {"name": "small", "value": _SMALL_KEY}],
        "cache": {"enabled": True},
    }
    _measure("keys and cache", guarded, (_CROWD_KEY, _SMALL_KEY), given)


if __name__ == "__main__":
    main()
