"""What ``python -m tests.doubles`` prints is a configuration that the gateway takes as it is."""

from __future__ import annotations

import signal
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


def test_no_two_vendors_share_a_key() -> None:
    keys = [key for double in DOUBLES for key in double.accepted_keys]
    assert len(keys) == len(set(keys))


def test_the_command_says_where_the_doubles_are_and_stops_when_told_to() -> None:
    command = [sys.executable, "-m", "tests.doubles", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as process:
        assert process.stdout is not None
        printed = "".join(takewhile(lambda line: line != "# End of the configuration.\n", process.stdout))
        url = yaml.safe_load(printed)["allowed_image_url_origins"][0]
        assert httpx.get(f"{url}/_log", trust_env=False).json() == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) in (0, -signal.SIGTERM)
