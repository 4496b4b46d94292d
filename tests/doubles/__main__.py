"""``python -m tests.doubles --port 9000``: every vendor on this machine, and the configuration that uses them."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import yaml

from tests.doubles.framework import VendorDouble
from tests.doubles.server import DoublesServer


def configuration(doubles: tuple[VendorDouble, ...], url: str) -> dict[str, Any]:
    """A gateway.yaml, as values, that reaches every double at ``url``; its alias ``doubles`` falls back over all."""
    doubles = tuple(sorted(doubles, key=lambda double: double.name))
    return {
        "providers": {double.name: _provider(double, url) for double in doubles},
        "aliases": {"doubles": [f"{double.name}/{double.model}" for double in doubles]},
        "allowed_image_url_origins": [url],
    }


def _provider(double: VendorDouble, url: str) -> dict[str, Any]:
    section: dict[str, Any] = {}
    if double.provider and double.provider != double.name:
        section["type"] = double.provider
    section["base_url"] = f"{url}/{double.name}"
    if double.key_parts:
        section["keys"] = [{"parts": dict(double.key_parts)}]
    else:
        section["keys"] = list(double.accepted_keys)
    if double.options:
        section["options"] = dict(double.options)
    return section


def main() -> None:
    """Prints where the doubles are and serves them until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.doubles", description=__doc__)
    parser.add_argument("--port", type=int, default=9000, help="port on 127.0.0.1 (default 9000; 0 for any)")
    arguments = parser.parse_args()
    server = DoublesServer(port=arguments.port)
    vendors = tuple(server.state.doubles.values())
    lines = [
        "# Every vendor's double is running. A gateway.yaml that uses them:",
        yaml.safe_dump(configuration(vendors, server.url), sort_keys=False).rstrip(),
        "# End of the configuration.",
        "",
        f"# Requests so far: {server.url}/_log   keys in wrong places: {server.url}/_leaks",
        f'# curl -X PUT {server.url}/_switch/fal -d \'{{"failure": "rate_limited", "times": 1}}\'',
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    server.run_until_interrupted()


if __name__ == "__main__":
    main()
