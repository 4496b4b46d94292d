"""The example programs of clients/: how each is built, and how it is called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from running_gateway import REPOSITORY

CLIENTS = REPOSITORY / "clients"
BUILT_WITHIN_S = 900
ENDS_WITHIN_S = 90


@dataclass(frozen=True, slots=True)
class Program:
    """One example program.

    Attributes:
        toolchain: The command without which it cannot be built.
        build: Builds it, given a directory to do so in, and returns the command that runs it.
        seconds: How the program writes a number of seconds.
    """

    name: str
    toolchain: str
    build: Callable[[Path], Sequence[str]]
    seconds: str = "{}"

    def missing(self) -> str:
        """Why it cannot be built on this machine. Empty: it can."""
        return "" if shutil.which(self.toolchain) else f"{self.toolchain} is not installed"


def ran(command: Sequence[str | Path], directory: Path, environment: Mapping[str, str] | None = None) -> None:
    """Runs a step of a build; AssertionError with its output where it fails."""
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=BUILT_WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))} failed:\n{done.stdout}\n{done.stderr}"


def _go(directory: Path) -> Sequence[str]:
    program = directory / "variations"
    ran(["go", "build", "-o", program, "."], CLIENTS / "go")
    return [str(program)]


def _typescript(_: Path) -> Sequence[str]:
    ran(["npm", "ci", "--silent", "--prefer-offline"], CLIENTS / "typescript")
    ran(["npm", "run", "--silent", "build"], CLIENTS / "typescript")
    return ["node", str(CLIENTS / "typescript" / "dist" / "variations.js")]


def _java(_: Path) -> Sequence[str]:
    stubs, program = REPOSITORY / "gen" / "java", CLIENTS / "java"
    jar = program / "target" / "variations.jar"
    # Maven takes ten seconds to find out that nothing has changed.
    if not _newer(jar, REPOSITORY / "protos", stubs / "pom.xml", program / "pom.xml", program / "src"):
        ran(["mvn", "-q", "-B", "install"], stubs)
        ran(["mvn", "-q", "-B", "package", "-DskipTests"], program)
    return ["java", "-jar", str(jar)]


def _newer(product: Path, *sources: Path) -> bool:
    files = [file for source in sources for file in (source.rglob("*") if source.is_dir() else [source])]
    return product.exists() and product.stat().st_mtime > max(file.stat().st_mtime for file in files)


def _rust(_: Path) -> Sequence[str]:
    ran(["cargo", "build", "--release", "--locked", "--quiet"], CLIENTS / "rust")
    return [str(CLIENTS / "rust" / "target" / "release" / "variations")]


def _python(directory: Path) -> Sequence[str]:
    """With the package as it is in this repository, and what this environment has installed."""
    path = f"{REPOSITORY / 'gen' / 'python'}:{CLIENTS / 'python' / 'src'}"
    return ["env", f"PYTHONPATH={path}", sys.executable, str(CLIENTS / "python" / "example.py")]


PROGRAMS = {
    program.name: program
    for program in (
        Program("Python", "env", _python),
        Program("Go", "go", _go, seconds="{}s"),
        Program("TypeScript", "npm", _typescript),
        Program("Java", "mvn", _java),
        Program("Rust", "cargo", _rust),
    )
}


@dataclass(frozen=True, slots=True)
class Caller:
    """A program that is ready to be called at one address."""

    program: Program
    command: Sequence[str]
    target: str
    key: str

    def __call__(
        self, *flags: str, timeout_s: float = 60, key: str | None = None, target: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *self.command,
                "--target",
                target or self.target,
                "--timeout",
                self.program.seconds.format(timeout_s),
                *flags,
            ],
            env={
                "PATH": os.environ["PATH"],
                "HOME": os.environ["HOME"],
                "IMAGE_VARIATIONS_API_KEY": self.key if key is None else key,
            },
            capture_output=True,
            text=True,
            timeout=ENDS_WITHIN_S,
            check=False,
        )
