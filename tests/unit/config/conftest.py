from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from service.config import Config, ConfigError, load


@pytest.fixture
def load_text(tmp_path: Path) -> Callable[..., Config]:
    """Loads a configuration from its text (or bytes) and the environment."""

    def load_it(text: str | bytes, environment: Mapping[str, str] | None = None) -> Config:
        file = tmp_path / "gateway.yaml"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return load(file, environment or {})

    return load_it


@pytest.fixture
def problems_of(load_text: Callable[..., Config]) -> Callable[..., list[str]]:
    """The problems of a configuration, each as ``line key: message``."""

    def problems(text: str | bytes, environment: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load_text(text, environment)
        return [f"{problem.line} {problem.key}: {problem.message}" for problem in caught.value.problems]

    return problems
