"""The service runs with what its installation brings along, without a package that only the tests install."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

from packaging.requirements import Requirement
from running_gateway import REPOSITORY

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


def _pins(file: str) -> dict[str, str]:
    lines = (REPOSITORY / file).read_text(encoding="utf-8").splitlines()
    found = (re.match(r"([A-Za-z0-9._-]+)==(\S+)", line) for line in lines)
    return {_normalized(pin[1]): pin[2] for pin in found if pin}


def test_the_lock_has_the_pinned_version_of_everything_that_an_installation_brings_along() -> None:
    locked, pinned = _pins("requirements.lock"), _pins("constraints.txt")
    assert {name: pinned.get(name) for name in locked} == locked
    extras = frozenset({"", "engine", "bedrock", "provenance"})
    wanted = {
        _normalized(requirement.name)
        for requirement in map(Requirement, metadata.requires("image-variations-gateway") or ())
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)
    }
    assert wanted <= locked.keys(), "run make lock"


def test_the_lock_gives_a_hash_for_every_package_and_says_nothing_of_where_it_was_made() -> None:
    text = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert re.fullmatch(r"[^\s=]+==[^\\]+( \\\n    --hash=sha256:[0-9a-f]{64})+", entry), entry[:80]
