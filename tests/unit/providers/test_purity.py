"""Translators import nothing that could do I/O, tell the time or draw lots, and not each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import service.providers
from service.providers.registry import TRANSLATORS

FORBIDDEN = {"httpx", "aiohttp", "grpc", "asyncio", "os", "time", "random", "logging", "socket", "secrets", "threading"}
FILES = sorted(Path(service.providers.__file__).parent.glob("*.py"))
TRANSLATOR_MODULES = {type(translator).__module__ for translator in TRANSLATORS.values()}


def imported(path: Path) -> Iterator[str]:
    """The names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_impure_is_imported(path: Path) -> None:
    assert not FORBIDDEN & {name.partition(".")[0] for name in imported(path)}


@pytest.mark.parametrize("module", sorted(TRANSLATOR_MODULES))
def test_no_translator_imports_another(module: str) -> None:
    path = Path(service.providers.__file__).parent / f"{module.rpartition('.')[2]}.py"
    assert not (TRANSLATOR_MODULES - {module}) & set(imported(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_layers_above_are_unknown_here(path: Path) -> None:
    known = ("service.core", "service.catalog.profile", "service.providers")
    assert all(name.startswith(known) for name in imported(path) if name.startswith("service"))
