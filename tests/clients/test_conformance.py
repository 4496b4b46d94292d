"""The conformance vectors, as each language's stubs read them; Python's are among the unit tests."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from running_gateway import REPOSITORY

from .conftest import skip_without
from .programs import CLIENTS, PROGRAMS, ran

QUICK = {"Go": ["go", "test", "./..."], "TypeScript": ["npm", "test", "--silent"]}
SLOW = {"Java": ["mvn", "-q", "-B", "test"], "Rust": ["cargo", "test", "--release", "--locked", "--quiet"]}


@pytest.mark.parametrize(
    ("language", "command"),
    [*QUICK.items(), *(pytest.param(*item, marks=pytest.mark.clients) for item in SLOW.items())],
)
def test_both_forms_mean_the_same(language: str, command: Sequence[str]) -> None:
    skip_without(PROGRAMS[language].missing())
    if language == "TypeScript":
        ran(["npm", "ci", "--silent", "--prefer-offline"], CLIENTS / "typescript")
    if language == "Java":
        ran(["mvn", "-q", "-B", "install"], REPOSITORY / "gen" / "java")
    ran(command, CLIENTS / language.lower())
