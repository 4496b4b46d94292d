from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli import main
from service.config import Config

ROOT = Path(__file__).parents[3]


def test_no_command_is_a_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


def test_check_config_shows_what_was_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("log: {level: debug}\naliases: {best: fal/x}\n")
    assert main(["check-config", "--config", str(file)]) == 0
    printed = capsys.readouterr()
    assert "level: debug" in printed.out
    assert "warning: the alias 'best' leads to fal/x" in printed.err


@pytest.mark.parametrize("command", ["check-config", "serve"])
def test_a_wrong_configuration_is_told_and_nothing_is_started(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("log:\n  level: loud\nlimit: {}\n")
    assert main([command, "--config", str(file)]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err.splitlines() == [
        f"{file}:2: log.level: must be one of 'debug', 'info', 'warning' or 'error', got 'loud'",
        f"{file}:3: limit: is not a setting; did you mean 'limits'?",
    ]


def test_serve_hands_the_configuration_to_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Config] = []
    monkeypatch.setattr("service.composition.app.serve", served.append)
    file = tmp_path / "gateway.yaml"
    file.write_text("allow_raw: true")
    assert main(["serve", "--config", str(file)]) == 0
    assert served[0].allow_raw


def test_ctrl_c_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("service.cli.check_config.check_config", interrupt)
    assert main(["check-config"]) == 130


def test_a_service_that_is_not_there_is_told_with_how_to_start_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.cli.connection._CONNECT_TIMEOUT_S", 0.5)
    # Bound but not listening: nobody can answer there, and nobody else can take the port.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(["models", "--target", target]) == 1
    assert capsys.readouterr().err.startswith(
        f"No service answers at {target}. Start one with: python -m service serve\n"
    )


def test_starting_does_not_load_what_only_the_other_commands_need() -> None:
    unwanted = "('rich', 'PIL', 'grpc', 'imagevariations')"
    script = f"import sys, service.cli.serve; print([name for name in {unwanted} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
