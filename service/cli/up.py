"""The service and Envoy together, for one machine: starts both, says when they are ready, stops both."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.cli.envoy import files_allowed, render
from service.composition.signals import StopSignals
from service.concurrency.machine import usable_memory_bytes, usable_processors
from service.concurrency.tasks import ended, started
from service.config import EMBEDDED_PROVIDER, Config

SAMPLE = Path(__file__).parents[2] / "samples" / "coffee.jpg"
"""A photo to try the gateway with; there in a checkout, not in an installed package."""

_READY_WITHIN_S = 60.0
# Envoy's end, and what the service needs beyond the times of its drain.
_STOPS_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Pair:
    """The two processes, as tasks that end when the process does."""

    service: asyncio.Task[int]
    envoy: asyncio.Task[int]

    @property
    def ended(self) -> str:
        """Which of the two has ended; empty while both run."""
        return "The service" if self.service.done() else "Envoy" if self.envoy.done() else ""


def up(config: Config, config_file: Path | None) -> int:
    """Runs until Ctrl-C or SIGTERM, or until either of the two ends; returns the exit status.

    Args:
        config: What ``config_file`` and the environment say; the service reads them by itself.
    """
    return asyncio.run(_up(config, config_file))


async def _up(config: Config, config_file: Path | None) -> int:
    taken = _taken_ports(config)
    for sentence in taken:
        print(sentence, file=sys.stderr)
    if taken:
        return 1
    signals = StopSignals()
    signals.listen()
    stopping = started(signals.stop())
    async with running_pair(config, config_file, signals) as pair:
        ready = started(wait_until_ready(config, pair))
        await asyncio.wait([ready, stopping], return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            ready.cancel()
            return 0
        if not ready.result():
            return 1
        print(_greeting(config, await _asks_for_credential(config)), flush=True)
        await asyncio.wait([stopping, pair.service, pair.envoy], return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            return 0
        _complain(pair)
        stopping.cancel()
        return 1


@contextlib.asynccontextmanager
async def running_pair(
    config: Config, config_file: Path | None, signals: StopSignals | None = None
) -> AsyncIterator[Pair]:
    """Both processes; on leaving the block the service is stopped first, as Envoy passes on what it still finishes.

    Args:
        signals: Those that came to us; the service gets the same. None: it is stopped as by Ctrl-C.
    """
    envoy_configuration = _write(config)
    arguments = ["--config", str(config_file)] if config_file else []
    processes: list[asyncio.subprocess.Process] = []
    try:
        processes.append(await _start(sys.executable, "-m", "service", "serve", *arguments))
        processes.append(
            await _start(
                str(Path(sys.executable).with_name("envoy")),
                "--config-path",
                str(envoy_configuration),
                # Copies on other ports are other Envoys, not new versions of this one.
                "--disable-hot-restart",
                # A request's line shall be there soon after its answer; by default it takes ten seconds.
                "--file-flush-interval-msec",
                "500",
                # By itself it starts a thread for each processor of the node, whatever our container may use.
                "--concurrency",
                str(usable_processors()),
                "--log-level",
                "error",
            )
        )
        service, envoy = (started(process.wait()) for process in processes)
        yield Pair(service, envoy)
    finally:
        if processes:
            await _drained(processes[0], signals or StopSignals(), config)
        for process in processes:
            await _end(process)
        envoy_configuration.unlink(missing_ok=True)


async def wait_until_ready(config: Config, pair: Pair) -> bool:
    """Whether a request through Envoy would reach the service, before the time is up; complains when not."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_READY_WITHIN_S), httpx.AsyncClient(trust_env=False) as client:
            while not pair.ended:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(f"{url(config)}/readyz", timeout=2)).status_code == 200:
                        return True
                await asyncio.sleep(0.1)
    _complain(pair)
    return False


def _taken_ports(config: Config) -> list[str]:
    """A sentence for each port that somebody else listens on, with how to choose another one."""
    sentences = []
    for side, address, variable, setting in (
        ("gRPC", config.listen.grpc, "GRPC_PORT", "listen.grpc"),
        ("REST", config.listen.http, "HTTP_PORT", "listen.http"),
    ):
        with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET) as probe:
            # Connections that a former listener has closed do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address.host, address.port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    sentences.append(
                        f"{address} (for {side}) is in use by another process. Choose another port "
                        f"with the environment variable {variable} or with {setting} in gateway.yaml."
                    )
                # Anything else that is wrong with the address is told by the process that listens on it.
    return sentences


async def _asks_for_credential(config: Config) -> bool:
    async with httpx.AsyncClient(trust_env=False) as client:
        with contextlib.suppress(httpx.HTTPError):
            return (await client.get(f"{url(config)}/v1/models", timeout=5)).status_code == 401
    return False


def url(config: Config) -> str:
    """The URL of the REST side from this machine."""
    address = config.listen.http
    host = "localhost" if address.host in ("0.0.0.0", "::", "127.0.0.1") else address.host  # noqa: S104
    return f"http://[{host}]:{address.port}" if ":" in host else f"http://{host}:{address.port}"


def _complain(pair: Pair) -> None:
    if pair.ended:
        print(f"{pair.ended} has ended by itself; its reason stands above.", file=sys.stderr)
    else:
        print(f"Not ready within {_READY_WITHIN_S:g} seconds.", file=sys.stderr)


def _write(config: Config) -> Path:
    directory = config.state_path / "run"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"envoy-{config.listen.http.port}-{os.getpid()}.yaml"
    path.write_text(render(config, most_files=files_allowed(), memory=usable_memory_bytes()), encoding="utf-8")
    return path


async def _start(*command: str) -> asyncio.subprocess.Process:
    # In a session of its own, so that a Ctrl-C reaches only us and the two are stopped in order.
    return await asyncio.create_subprocess_exec(*command, start_new_session=True)


async def _drained(service: asyncio.subprocess.Process, signals: StopSignals, config: Config) -> None:
    """Passes our signals on to the service and waits for as long as it may take to finish its requests."""
    ending = started(service.wait())
    _pass_on(service, signals.first or signal.SIGINT)
    hurrying = started(signals.hurry())
    longest_s = config.drain.lame_duck + config.drain_s + _STOPS_WITHIN_S
    await asyncio.wait([ending, hurrying], timeout=longest_s, return_when=asyncio.FIRST_COMPLETED)
    if signals.hurried and not ending.done():
        _pass_on(service, signal.SIGINT)
        await asyncio.wait([ending], timeout=_STOPS_WITHIN_S)
    await ended([hurrying, ending])


def _pass_on(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOPS_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _greeting(config: Config, asks_for_credential: bool) -> str:
    photo = os.path.relpath(SAMPLE) if SAMPLE.is_file() else "photo.jpg"
    credential = ' -H "Authorization: Bearer YOUR-KEY"' if asks_for_credential else ""
    enabled = [*([EMBEDDED_PROVIDER] if config.engine.enabled else []), *_enabled(config)]
    return f"""
Ready: REST on {url(config)}, gRPC on {config.listen.grpc}. Ctrl-C stops both.
Providers: {", ".join(enabled) or "none"}. A request without a model goes to {config.default_route}.
Try, in another terminal:

    curl {url(config)}/v1/images/variations -F image=@{photo} -F n=2{credential}
"""


def _enabled(config: Config) -> list[str]:
    return [name for name, provider in config.providers.items() if provider.enabled]
