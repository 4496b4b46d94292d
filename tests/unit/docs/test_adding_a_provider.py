"""docs/adding-a-provider.md, followed to the letter in a copy of the sources, up to the suite of all providers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.catalog import catalog
from service.config import load

REPOSITORY = Path(__file__).parents[3]
GUIDE = (REPOSITORY / "docs" / "adding-a-provider.md").read_text(encoding="utf-8")


def block(language: str, start: str) -> str:
    """The one code block of a language that starts with this line; the line itself is left out where it is a path."""
    found = [code for code in re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL) if code.startswith(start)]
    assert len(found) == 1, f"there are {len(found)} blocks that start with {start!r}"
    return str(found[0]).removeprefix(start).lstrip("\n") if start.startswith("#") else str(found[0])


def test_its_configuration_is_understood(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(block("yaml", "# gateway.yaml"))
    config = load(tmp_path / "gateway.yaml", environment={"STUDIO_KEY": "a-key"})
    assert not config.warnings
    assert config.providers["studio"].type == "vllm-omni"
    assert [target.model for target in config.aliases["best"].targets] == ["studio/flux-edit", "local/vary"]


def test_its_types_are_in_the_catalog() -> None:
    types = re.findall(r"^\| `([\w-]+)` \|", GUIDE, re.MULTILINE)
    assert len(types) >= 6
    assert set(types) <= set(catalog.load())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources and the providers' tests, with the guide's five pieces put where it says."""
    for name in (
        "service",
        "tests/contract",
        "tests/support",
        "tests/fixtures",
        "tests/doubles",
        "tests/unit/providers",
        "tests/unit/catalog",
    ):
        shutil.copytree(
            REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
        )
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)

    def written(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")

    for path in ("service/providers/plain_json.py", "tests/support/provider_cases/plain.py"):
        written(path, block("python", f"# {path}"))
    written("tests/fixtures/plain/answers.json", block("json", "{"))
    written("service/catalog/data/plain.yaml", block("yaml", "# service/catalog/data/plain.yaml"))
    registry = (tmp_path / "service/providers/registry.py").read_text(encoding="utf-8")
    row = '        "recraft": RecraftVariations(),\n'
    assert row in registry
    registry = registry.replace(row, block("python", "# registry.py").rstrip() + "\n" + row)
    imported = "from service.providers.recraft import"
    registry = registry.replace(imported, f"from service.providers.plain_json import PlainJson\n{imported}")
    written("service/providers/registry.py", registry)
    return tmp_path


def run(directory: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=directory, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_new_format_passes_what_every_provider_passes(copy: Path) -> None:
    # The copy's own sources come first on the path, before those that are installed.
    suite = ("tests/contract/test_every_provider.py", "tests/unit/catalog/test_catalog.py")
    said = run(
        copy, "pytest", "-q", "-p", "no:cacheprovider", *suite, "-k", "plain or every_translator or every_provider_is"
    )
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None
    assert int(passed[1]) > 20
    assert "skipped" not in said


def test_its_code_is_as_clean_as_ours(copy: Path) -> None:
    files = ("service/providers/plain_json.py", "tests/support/provider_cases/plain.py")
    run(copy, "ruff", "check", "--no-cache", *files)
    run(copy, "ruff", "format", "--no-cache", "--check", *files)
