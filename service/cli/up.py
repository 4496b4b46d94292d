"""The service and Envoy together, for one machine: starts both, says when they are ready, stops both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx

from service.cli.envoy import render
from service.config import Config

_READY_WITHIN_S = 60.0
_STOPS_WITHIN_S = 30.0
_SAMPLE = Path(__file__).parents[2] / "samples" / "chelsea.jpg"


def up(config: Config, serve_arguments: Sequence[str]) -> int:
    """Runs until Ctrl-C or SIGTERM, or until either of the two ends; returns the exit status.

    Args:
        serve_arguments: Further arguments of ``python -m service serve``, such as the configuration file.
    """
    return asyncio.run(_up(config, serve_arguments))


async def _up(config: Config, serve_arguments: Sequence[str]) -> int:
    stop = asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    stopping = asyncio.create_task(stop.wait())
    envoy_configuration = _write(config)
    service = await _start(sys.executable, "-m", "service", "serve", *serve_arguments)
    envoy = await _start(
        str(Path(sys.executable).with_name("envoy")),
        "--config-path",
        str(envoy_configuration),
        # Copies on other ports are other Envoys, not new versions of this one.
        "--disable-hot-restart",
        "--log-level",
        "warning",
    )
    ends = [asyncio.create_task(process.wait()) for process in (service, envoy)]
    try:
        ready = asyncio.create_task(_ready(config))
        await asyncio.wait([ready, stopping, *ends], return_when=asyncio.FIRST_COMPLETED)
        if ready.done() and ready.result():
            print(_greeting(config), flush=True)
            await asyncio.wait([stopping, *ends], return_when=asyncio.FIRST_COMPLETED)
        elif ready.done():
            print(f"Not ready within {_READY_WITHIN_S:g} seconds.", file=sys.stderr)
        ready.cancel()
        asked_to = stopping.done()
        if not asked_to:
            which = "The service" if service.returncode is not None else "Envoy"
            print(f"{which} has ended by itself; its reason stands above.", file=sys.stderr)
        return 0 if asked_to else 1
    finally:
        # The service first: it finishes what is under way, and Envoy passes that on.
        await _end(service)
        await _end(envoy)
        envoy_configuration.unlink(missing_ok=True)


def _write(config: Config) -> Path:
    directory = config.state_path / "run"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"envoy-{config.listen.http.port}-{os.getpid()}.yaml"
    path.write_text(render(config), encoding="utf-8")
    return path


async def _start(*command: str) -> asyncio.subprocess.Process:
    # In a session of its own, so that a Ctrl-C reaches only us and the two are stopped in order.
    return await asyncio.create_subprocess_exec(*command, start_new_session=True)


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


async def _ready(config: Config) -> bool:
    """Whether a request through Envoy would reach the service, before the time is up."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_READY_WITHIN_S), httpx.AsyncClient(trust_env=False) as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(f"{_url(config)}/readyz", timeout=2)).status_code == 200:
                        return True
                await asyncio.sleep(0.1)
    return False


def _url(config: Config) -> str:
    host = config.listen.http.host
    shown = {"0.0.0.0": "localhost", "::": "localhost", "127.0.0.1": "localhost"}.get(host, host)  # noqa: S104
    return f"http://{shown}:{config.listen.http.port}"


def _greeting(config: Config) -> str:
    photo = os.path.relpath(_SAMPLE) if _SAMPLE.is_file() else "photo.jpg"
    return f"""
Ready: REST on {_url(config)}, gRPC on {config.listen.grpc}. Ctrl-C stops both. Try, in another terminal:

    curl {_url(config)}/v1/images/variations -F image=@{photo} -F n=2
"""
