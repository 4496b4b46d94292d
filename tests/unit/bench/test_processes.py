"""Starting what is measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.processes import running, wait_until


def test_what_is_measured_is_not_given_the_ports_of_make_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HTTP_PORT", "8080")
    monkeypatch.setenv("GRPC_PORT", "50051")
    monkeypatch.setenv("SOMETHING_ELSE", "kept")
    log = tmp_path / "log"
    tell = "import os; print(*(os.environ.get(name) for name in ('HTTP_PORT', 'GRPC_PORT', 'SOMETHING_ELSE', 'GIVEN')))"
    with running([sys.executable, "-c", tell], log, cwd=tmp_path, environment={"GIVEN": "too"}):
        wait_until(lambda: log.read_text().endswith("\n"), "nothing was told")
    assert log.read_text().split() == ["None", "None", "kept", "too"]
