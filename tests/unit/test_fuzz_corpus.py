"""The inputs that fuzzers begin from, and those on which they once failed, through each target."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import IN_PROCESS

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"


@pytest.mark.parametrize("name", sorted(IN_PROCESS))
def test_every_input_is_read_or_refused(name: str) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs
    for path in inputs:
        IN_PROCESS[name](path.read_bytes())
