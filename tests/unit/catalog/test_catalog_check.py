"""make catalog-check: which facts want looking at."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

from service.catalog import catalog

REPOSITORY = Path(__file__).parents[3]
CATALOG = """
openai:
  title: OpenAI
  translator: openai_edits
  default_model: image-2
  default_profile: {price: {per_image: 0.5}, source: a page, checked: 2026-11-01}
  models:
    image-2: {}
    image-1: {checked: 2026-01-01, sunset: 2026-10-01}
    tokens: {price: {input_text_tokens: 5, output_image_tokens: 30}}
"""
TABLE = {
    "image-2": {"output_cost_per_image": 0.4},
    "image-1": {"output_cost_per_image": 0.5, "deprecation_date": "2026-10-01"},
    "tokens": {"input_cost_per_token": 5e-6, "output_cost_per_image_token": 4e-5, "deprecation_date": "2027-01-01"},
}
sys.path.insert(0, str(REPOSITORY))
from tools import catalog_check  # noqa: E402  # a script of the repository's, found by its root

TODAY = date(2026, 11, 27)


def test_facts_that_were_checked_long_ago_are_listed() -> None:
    entries = catalog.parse(CATALOG)
    assert list(catalog_check.old(entries, TODAY, 60)) == ["openai/image-1: checked 2026-01-01 against: a page"]
    assert len(list(catalog_check.old(entries, TODAY, 20))) == 3


def test_models_at_their_end_are_listed() -> None:
    assert list(catalog_check.ending(catalog.parse(CATALOG), TODAY)) == ["openai/image-1: ended 2026-10-01"]


def test_prices_and_ends_that_the_table_has_otherwise_are_listed() -> None:
    assert list(catalog_check.differing(catalog.parse(CATALOG), TABLE)) == [
        "openai/image-2: 0.5 an image here, 0.4 there",
        "openai/tokens: output_image_tokens 30 a million here, 40 there",
        "openai/tokens: ends never here, 2027-01-01 there",
    ]


def test_the_script_runs_over_what_ships(tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text(json.dumps({"gpt-image-2": {"output_cost_per_image": 1}}))
    command = [
        sys.executable,
        "tools/catalog_check.py",
        "--prices",
        str(tmp_path / "prices.json"),
        "--older-than",
        "9999",
    ]
    done = subprocess.run(
        command, cwd=REPOSITORY, env={"PYTHONPATH": "."}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Not checked for 9999 days: none" in done.stdout
    assert "openai/gpt-image-1: ended 2026-10-23" in done.stdout
