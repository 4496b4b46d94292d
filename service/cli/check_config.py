"""``check-config``: shows how the configuration was understood."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from service.config import ConfigError, describe, load


def check_config(file: Path | None) -> int:
    """Prints the configuration, or all that is wrong with it."""
    try:
        config = load(file, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    print(describe(config), end="")
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return 0
