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
    # It stands for the vendor itself, prices and all.
    section["inherit_catalog"] = True
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
    try:
        server = DoublesServer(port=arguments.port)
    except OSError:
        parser.error(f"port {arguments.port} is taken; choose another one with --port, or 0 for any")
    values = configuration(tuple(server.state.doubles.values()), server.url)
    first, second = (target.partition("/")[0] for target in values["aliases"]["doubles"][:2])
    lines = [
        "# Every vendor's double is running. A gateway.yaml that uses them:",
        yaml.safe_dump(values, sort_keys=False).rstrip(),
        "# End of the configuration.",
        "#",
        "# Save all of this as gateway.yaml, `make run` in another terminal, and ask for all of them in turn:",
        "#   curl http://localhost:8080/v1/images/variations -F image=@samples/coffee.jpg -F model=doubles",
        f"# Let {first} fail, ask again, and extra_fields.attempts tells that {second} took over:",
        f'#   curl -X PUT {server.url}/_switch/{first} -d \'{{"failure": "server_error"}}\'',
        f"# Every request so far is at {server.url}/_log, what else there is in tests/doubles/README.md.",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    server.run_until_interrupted()


if __name__ == "__main__":
    main()
