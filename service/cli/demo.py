"""The main job end to end: starts service and Envoy, varies a photo, leaves the results, stops both."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import sys

from service.cli.up import SAMPLE, running_pair, wait_until_ready
from service.cli.vary import vary
from service.config import Config, ConfigError, load


def demo(options: argparse.Namespace) -> int:
    """Returns the exit status.

    Args:
        options: Those of ``vary``; the image is a sample where none is given.
    """
    options.image = options.image or SAMPLE
    if not options.image.is_file():
        print(f"{options.image} is no file: name a photo.", file=sys.stderr)
        return 2
    # Ports of its own, so that it runs beside a gateway that is up already.
    for variable, port in zip(("HTTP_PORT", "GRPC_PORT"), _free_ports(2), strict=True):
        os.environ[variable] = str(port)
    try:
        config = load(options.config, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return asyncio.run(_demo(config, options))


async def _demo(config: Config, options: argparse.Namespace) -> int:
    async with running_pair(config, options.config) as pair:
        if not await wait_until_ready(config, pair):
            return 1
        options.target = str(config.listen.grpc)
        # It blocks while it waits for the service.
        return await asyncio.to_thread(vary, options)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
