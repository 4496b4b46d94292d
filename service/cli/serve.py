"""``serve`` and ``up``: start the service, alone or with Envoy in front of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from service.config import Config, ConfigError, load


def serve(file: Path | None) -> int:
    """Serves until told to stop; 2 when the configuration is wrong."""
    config = _loaded(file)
    if config is None:
        return 2
    # gRPC's core prints lines that are no JSON, and repeats what the service tells in its own words.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from service.composition import app

    app.serve(config)
    return 0


def serve_with_envoy(file: Path | None) -> int:
    """The same with Envoy; 1 when either ends by itself."""
    config = _loaded(file)
    if config is None:
        return 2
    from service.cli.up import up

    return up(config, file)


def _loaded(file: Path | None) -> Config | None:
    try:
        return load(file, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return None
