"""The command line: start the service, check its configuration, and use a running one."""

from __future__ import annotations

from collections.abc import Sequence

from service.cli.arguments import parser

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit code: 0; 1 when what was asked for failed; 2 when the arguments or the configuration are
        wrong; 130 when interrupted.
    """
    options = parser().parse_args(arguments)
    try:
        # Imported only now: the service must not wait for what draws tables and contact sheets.
        match options.command:
            case "serve":
                from service.cli.serve import serve

                return serve(options.config)
            case "up":
                from service.cli.serve import serve_with_envoy

                return serve_with_envoy(options.config)
            case "demo":
                from service.cli.demo import demo

                return demo(options)
            case "check-config":
                from service.cli.check_config import check_config

                return check_config(options.config)
            case "envoy-config":
                from service.cli.envoy_config import envoy_config

                return envoy_config(options.config)
            case "engine":
                from service.cli.engine import engine_command

                return engine_command(options)
            case "keys":
                from service.cli.keys import keys

                return keys(options)
            case "models":
                from service.cli.models import models

                return models(options)
            case _:
                from service.cli.vary import vary

                return vary(options)
    except KeyboardInterrupt:
        return INTERRUPTED
