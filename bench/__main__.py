"""python -m bench [check]: see README.md. BENCH_PEERS=1 measures the peers too."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from bench import engine, peers, report
from bench.check import check
from bench.large import large_images
from bench.load import require_generator
from bench.moments import growth, moments
from bench.throughput import compare


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description="Measures the gateway.")
    parser.add_argument("command", nargs="?", choices=["run", "check"], default="run")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="directory for the report")
    options = parser.parse_args()
    require_generator()
    if options.command == "check":
        return check()
    with_peers = os.environ.get("BENCH_PEERS") == "1"
    if with_peers:
        peers.require_installed()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        comparison = compare(
            directory, rounds=options.rounds, seconds=options.seconds, with_peers=with_peers, tell=_tell
        )
        _tell("large images")
        large = [each for megabytes in (5, 20) for each in large_images(directory, megabytes)]
        _tell("single figures")
        figures = moments(directory)
        _tell("more and more requests at once")
        grown = growth(directory)
        _tell("the embedded engine")
        rates = engine.rates(directory / "engine")
    path = report.write(report.Measured(comparison, with_peers, large, figures, grown, rates), options.results)
    print(path)
    return 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
