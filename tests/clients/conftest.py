"""A gateway that wants a credential, for clients in every language."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_gateway import REPOSITORY, RunningGateway, running_gateway

KEY = "a-token-for-clients-in-tests"


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    # With a cache, so that each picture is made once for all languages.
    configuration = f"tokens: [{{name: clients, value: {KEY}}}]\ncache: {{enabled: true}}\n"
    with running_gateway(tmp_path_factory.mktemp("gateway"), configuration) as running:
        yield running


@pytest.fixture(scope="session")
def photo() -> Path:
    """A real photo, as a JPEG file."""
    return REPOSITORY / "samples" / "coffee.jpg"


def skip_without(missing: str) -> None:
    """Skips where a toolchain is missing, unless continuous integration runs: there it is a mistake."""
    if missing:
        assert not os.environ.get("CI"), missing
        pytest.skip(missing)
