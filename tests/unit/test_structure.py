"""The rules of the structure, each proved by breaking it in a copy of the sources."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources, to be spoiled."""
    shutil.copytree(REPOSITORY / "service", tmp_path / "service", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def broken_contracts(copy: Path) -> str:
    """The report of the import contracts; fails where none is broken."""
    done = subprocess.run(
        [tool("lint-imports"), "--no-cache"], cwd=copy, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def append(file: Path, line: str) -> None:
    file.parent.mkdir(exist_ok=True)
    with file.open("a", encoding="utf-8") as opened:
        opened.write(f"\n{line}\n")


def test_a_folder_without_a_place_is_found(copy: Path) -> None:
    append(copy / "service/shortcuts/__init__.py", '"""A room that nobody planned."""')
    assert "- service.shortcuts" in broken_contracts(copy)


@pytest.mark.parametrize(
    ("file", "line", "told"),
    [
        ("core/values.py", "import service.composition.logs", "service.core.values -> service.composition.logs"),
        ("engine/plan.py", "import service.imaging.decode", "service.engine.plan -> service.imaging.decode"),
        ("gateway/record.py", "import service.api.convert", "service.gateway.record -> service.api.convert"),
        ("providers/bfl.py", "import service.providers.fal", "service.providers.bfl -> service.providers.fal"),
        ("providers/bfl.py", "import asyncio", "service.providers.bfl -> asyncio"),
        ("gateway/record.py", "import grpc", "service.gateway.record -> grpc"),
        ("gateway/record.py", "import httpx", "service.gateway.record -> httpx"),
    ],
)
def test_an_import_that_points_up_or_aside_is_found(copy: Path, file: str, line: str, told: str) -> None:
    append(copy / "service" / file, line)
    assert told in broken_contracts(copy)


@pytest.mark.parametrize("call", ["asyncio.create_task(work())", "asyncio.ensure_future(work())"])
def test_a_task_that_nobody_keeps_is_found(copy: Path, call: str) -> None:
    file = copy / "service/gateway/shortcut.py"
    append(file, f"import asyncio\n\n\nasync def work() -> None:\n    {call}")
    done = subprocess.run(
        [tool("ruff"), "check", str(file)], cwd=copy, capture_output=True, text=True, timeout=60, check=False
    )
    assert "TID251" in done.stdout
    assert "service.concurrency.tasks" in done.stdout


def test_the_core_needs_the_standard_library_only() -> None:
    for file in (REPOSITORY / "service/core").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.startswith("service.core") or name.partition(".")[0] in sys.stdlib_module_names, file
