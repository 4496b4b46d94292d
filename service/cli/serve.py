"""``serve``: starts the service."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from service.config import ConfigError, load


def serve(file: Path | None) -> int:
    """Serves until told to stop; 2 when the configuration is wrong."""
    try:
        config = load(file, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    from service import app

    app.serve(config)
    return 0
