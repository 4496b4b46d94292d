"""The service runs with what its installation brings along, without a package that only the tests install."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

from packaging.requirements import Requirement

# Makes packages look as if they were not installed, then imports what `make run` does before its first request.
STARTS_WITHOUT = """
import sys

hidden = set(sys.argv[1:])

class Hidden:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden)
import redis.asyncio, uvloop
import service.__main__, service.composition.app, service.cli.demo, service.cli.keys, service.engine.analysis
from service import engine
if engine.availability():
    raise SystemExit(engine.availability())
"""


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _brought_along(name: str, extras: frozenset[str], found: set[str]) -> set[str]:
    """A distribution and all that pip installs with it."""
    found.add(_normalized(name))
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        marker = requirement.marker
        wanted = marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""})
        if wanted and _normalized(requirement.name) not in found:
            _brought_along(requirement.name, frozenset(requirement.extras), found)
    return found


def test_the_service_starts_without_what_only_its_tests_install() -> None:
    brought_along = _brought_along("image-variations-gateway", frozenset({"", "engine"}), set())
    hidden = {
        module
        for module, owners in metadata.packages_distributions().items()
        if not any(_normalized(owner) in brought_along for owner in owners)
    }
    assert {"pytest", "openai", "starlette"} <= hidden
    started = subprocess.run(
        [sys.executable, "-c", STARTS_WITHOUT, *hidden], capture_output=True, text=True, check=False
    )
    assert started.returncode == 0, started.stderr[-2000:]
