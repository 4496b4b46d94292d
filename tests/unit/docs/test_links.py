"""Documents point at files that are there, and the index of decisions lists every note."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from running_gateway import REPOSITORY

NOTES = sorted(each.name for each in (REPOSITORY / "docs" / "decisions").glob("20*.md"))
DOCUMENTS = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
    cwd=REPOSITORY,
    capture_output=True,
    text=True,
    check=False,
).stdout.split()


def test_the_index_lists_every_decision_once_and_nothing_else() -> None:
    index = (REPOSITORY / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^- .*\]\((20[^)]+)\)$", index, re.MULTILINE)) == NOTES


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_to_a_file_finds_it(document: str) -> None:
    file = REPOSITORY / document
    text = re.sub(r"^```.*?^```", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:|#", target):
            path = Path(file.parent, target.partition("#")[0])
            assert path.exists(), target
