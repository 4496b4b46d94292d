"""Translators by name: ours, and those that installed packages bring."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.config import ConfigError, load
from service.providers.registry import TRANSLATORS, translator

MODULE = """
class InHouse:
    def vary(self, call, profile, endpoint):
        raise NotImplementedError
"""
ENTRY_POINTS = """
[image_variations.translators]
in_house = our_models:InHouse
fal = our_models:InHouse
"""
FACTS = """
studio:
  title: The studio's own models
  translator: in_house
  base_url: https://studio.test
  default_model: fine
  models: {fine: {price: {per_image: 0.01}}}
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as an installer leaves it."""
    (tmp_path / "our_models.py").write_text(MODULE)
    info = tmp_path / "our_models-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-models\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("installed")
def test_a_package_may_bring_one_of_its_own() -> None:
    assert type(translator("in_house")).__name__ == "InHouse"


@pytest.mark.usefixtures("installed")
def test_a_package_cannot_replace_ours() -> None:
    assert translator("fal") is TRANSLATORS["fal"]


def configured(tmp_path: Path) -> Path:
    (tmp_path / "facts.yaml").write_text(FACTS)
    file = tmp_path / "gateway.yaml"
    file.write_text(f"catalog: {tmp_path / 'facts.yaml'}\nproviders: {{studio: {{keys: [k]}}}}\n")
    return file


@pytest.mark.usefixtures("installed")
def test_a_file_of_facts_makes_it_a_provider(tmp_path: Path) -> None:
    config = load(configured(tmp_path), {})
    assert config.entries["studio"].translator == "in_house"


def test_a_translator_that_nobody_brings_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"providers\.studio: there is no translator 'in_house'"):
        load(configured(tmp_path), {})
