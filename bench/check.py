"""``make bench-check``: whether the ratios to the floor are still those that were committed."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from bench.report import RESULTS, ratios_to_floor
from bench.throughput import compare

# Medians of seven rounds still differ by up to a quarter between two runs where others use the machine too.
_TOLERANCE = 1.3
_ROUNDS = 7
_SECONDS = 2.0


def check() -> int:
    """Measures the gateway and the floor anew; returns 1, having told why, when a ratio is worse than committed."""
    committed = json.loads((RESULTS / "report.json").read_text())["ratios_to_floor"]
    with tempfile.TemporaryDirectory() as directory:
        samples = compare(Path(directory), rounds=_ROUNDS, seconds=_SECONDS, with_peers=False, tell=lambda _: None)
    worse = False
    for name, now in ratios_to_floor(samples).items():
        before = committed[name]
        is_worse = now > before * _TOLERANCE
        worse |= is_worse
        print(f"{name:20} committed {before:5.2f}   now {now:5.2f}   {'WORSE' if is_worse else 'ok'}")
    return int(worse)
