"""envoy.yaml: valid as it stands and as rendered, and in agreement with the service's own limits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from running_gateway import REPOSITORY

from service.cli.envoy import render
from service.config import load


def validate(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("envoy")), "--mode", "validate", "--config-path", str(path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def values(node: Any, key: str) -> set[Any]:
    """Every value that stands under ``key``, anywhere."""
    if isinstance(node, dict):
        here = {node[key]} if key in node and not isinstance(node[key], dict | list) else set()
        return here.union(*(values(each, key) for each in node.values()))
    if isinstance(node, list):
        return set().union(*(values(each, key) for each in node))
    return set()


def test_envoy_accepts_the_file_as_it_stands() -> None:
    checked = validate(REPOSITORY / "envoy.yaml")
    assert checked.returncode == 0, checked.stderr


def test_envoy_accepts_what_is_rendered(tmp_path: Path) -> None:
    path = tmp_path / "envoy.yaml"
    path.write_text(render(load(None, {"HTTP_PORT": "18080", "GRPC_PORT": "15051"})))
    checked = validate(path)
    assert checked.returncode == 0, checked.stderr


def test_the_file_has_the_defaults_of_the_configuration() -> None:
    written = yaml.safe_load((REPOSITORY / "envoy.yaml").read_text())
    rendered = yaml.safe_load(render(load(None, {})))
    for key in ("max_request_body_size", "max_response_body_size", "stream_idle_timeout"):
        assert values(written, key) == values(rendered, key)
        assert len(values(written, key)) == 1
    assert values(written["static_resources"], "port_value") == values(rendered["static_resources"], "port_value")


def test_each_limit_is_set_in_one_place(tmp_path: Path) -> None:
    configuration = tmp_path / "gateway.yaml"
    configuration.write_text("limits: {request_bytes: 1MiB, response_bytes: 2MiB, request_timeout: 20s}\n")
    rendered = yaml.safe_load(render(load(configuration, {})))
    assert values(rendered, "max_request_body_size") == {1024**2}
    assert values(rendered, "max_response_body_size") == {2 * 1024**2}
    assert "25s" in values(rendered, "timeout")
    # A request is over before its silence is.
    assert values(rendered, "stream_idle_timeout") == {"80s"}


@pytest.mark.parametrize("section", ["admin"])
def test_administration_is_on_loopback_only(section: str) -> None:
    written = yaml.safe_load((REPOSITORY / "envoy.yaml").read_text())
    assert written[section]["address"]["socket_address"]["address"] == "127.0.0.1"
