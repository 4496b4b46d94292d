"""What ``python -m tests.doubles`` prints is a configuration that the gateway takes as it is."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import httpx
import yaml

from service.config import load
from tests.doubles.__main__ import configuration
from tests.doubles.app import all_doubles

DOUBLES = all_doubles()
REPOSITORY = Path(__file__).parents[3]


def test_the_printed_configuration_is_valid_and_reaches_every_double(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(configuration(DOUBLES, "http://127.0.0.1:9000")), encoding="utf-8")
    config = load(path, environment={})
    assert not config.warnings
    assert set(config.providers) == {double.name for double in DOUBLES}
    for double in DOUBLES:
        provider = config.providers[double.name]
        assert provider.base_url == f"http://127.0.0.1:9000/{double.name}"
        secrets = {key.value.get_secret_value() for key in provider.keys if key.value}
        assert secrets == (set() if double.key_parts else set(double.accepted_keys))
    assert {target.model for target in config.aliases["doubles"].targets} == {
        f"{double.name}/{double.model}" for double in DOUBLES
    }


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "tests.doubles", "--port", str(taken.getsockname()[1])]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].endswith("is taken; choose another one with --port, or 0 for any")
    assert "Traceback" not in ended.stderr


def test_no_two_vendors_share_a_key() -> None:
    keys = [key for double in DOUBLES for key in double.accepted_keys]
    assert len(keys) == len(set(keys))


def test_the_command_says_where_the_doubles_are_and_stops_when_told_to() -> None:
    command = [sys.executable, "-m", "tests.doubles", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        # All that it says is YAML, so that it can be written to a file as it is.
        printed = "".join(takewhile(lambda line: not line.startswith("# Every request"), process.stdout))
        url = yaml.safe_load(printed)["allowed_image_url_origins"][0]
        assert httpx.get(f"{url}/_log", trust_env=False).json() == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) in (0, -signal.SIGTERM)
