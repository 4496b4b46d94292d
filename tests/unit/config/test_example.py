"""gateway.example.yaml is the reference of the settings, so it must be complete and true."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from service.config import Config, ProfileOverrides, load

EXAMPLE = Path(__file__).parents[3] / "gateway.example.yaml"


def keys_of(annotation: Any) -> Iterator[str]:
    """Every key that a setting of this type and those below it can have."""
    if isinstance(annotation, type) and issubclass(annotation, ProfileOverrides):
        return
    if isinstance(annotation, type) and not get_origin(annotation) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield name
            yield from keys_of(field.annotation)
    elif not isinstance(annotation, types.GenericAlias) or get_args(annotation):
        for part in get_args(annotation):
            yield from keys_of(part)


def uncommented(section: str) -> str:
    """The worked example of a section, which stands in comments indented by three spaces."""
    found = re.search(rf"^#   {section}:\n(?:#    .*\n)+", EXAMPLE.read_text(), re.MULTILINE)
    assert found is not None
    return re.sub(r"^#   ", "", found[0], flags=re.MULTILINE)


ENVIRONMENT = {
    "OPENAI_API_KEY": "a",
    "SECOND_OPENAI_KEY": "b",
    "RECRAFT_API_KEY": "c",
    "ALICE_KEY": "sk-bf-" + "a" * 43,
    "GATEWAY_TOKEN": "t" * 32,
}


def test_the_example_says_the_defaults() -> None:
    assert load(EXAMPLE, {}).model_dump() == load(Path("/dev/null"), {}).model_dump()


def test_every_setting_is_in_the_example() -> None:
    written = set(re.findall(r"([a-z_]+):", EXAMPLE.read_text()))
    keys = set(keys_of(Config))
    assert {"request_bytes", "trusted_hosts", "weight", "signing_secret"} <= keys
    assert keys <= written


@pytest.mark.parametrize("section", ["aliases", "providers", "teams", "tokens"])
def test_the_worked_examples_are_valid(section: str, tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(uncommented(section))
    config = load(file, ENVIRONMENT)
    assert len(getattr(config, section)) >= 1
    assert not config.warnings


def test_the_worked_key_is_valid_with_its_team_and_providers(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(uncommented("keys") + uncommented("teams") + uncommented("providers"))
    (key,) = load(file, ENVIRONMENT).keys
    assert (key.name, key.team, len(key.budgets), len(key.rate_limits)) == ("alice", "pictures", 2, 2)
