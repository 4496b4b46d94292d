"""``envoy-config``: prints the configuration that ``up`` starts Envoy with, for those who run Envoy by themselves."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from service.cli.envoy import files_allowed, render
from service.concurrency.machine import usable_memory_bytes
from service.config import ConfigError, load


def envoy_config(file: Path | None) -> int:
    """Prints it as YAML, or all that is wrong with the gateway's own configuration."""
    try:
        config = load(file, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    print(render(config, most_files=files_allowed(), memory=usable_memory_bytes()), end="")
    return 0
