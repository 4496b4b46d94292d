"""envoy.yaml: valid as it stands and as rendered, and in agreement with the service's own limits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from running_gateway import REPOSITORY

from service.cli import main
from service.cli.envoy import render
from service.config import load

RENDERED = (
    "max_request_body_size",
    "max_response_body_size",
    "largest_request",
    "ask_before_body",
    "stream_idle_timeout",
    "max_stream_duration",
    "max_heap_size_bytes",
    "max_active_downstream_connections",
    "max_requests",
    "max_pending_requests",
)


def validate(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("envoy")),
            "--mode",
            "validate",
            "--log-level",
            "warning",
            "--config-path",
            str(path),
        ],
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
    assert "eprecated" not in checked.stderr


def test_envoy_accepts_what_is_rendered(tmp_path: Path) -> None:
    path = tmp_path / "envoy.yaml"
    path.write_text(render(load(None, {"HTTP_PORT": "18080", "GRPC_PORT": "15051"})))
    checked = validate(path)
    assert checked.returncode == 0, checked.stderr


def test_the_file_has_the_defaults_of_the_configuration() -> None:
    written = yaml.safe_load((REPOSITORY / "envoy.yaml").read_text())
    rendered = yaml.safe_load(render(load(None, {})))
    for key in RENDERED:
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


def http2_options(node: Any) -> list[dict[str, int]]:
    """Every ``http2_protocol_options``, anywhere."""
    if isinstance(node, dict):
        here = [node["http2_protocol_options"]] if "http2_protocol_options" in node else []
        return here + [each for value in node.values() for each in http2_options(value)]
    return [each for value in node for each in http2_options(value)] if isinstance(node, list) else []


@pytest.mark.parametrize("side", ["listeners", "clusters"])
def test_a_connections_window_holds_every_streams(side: str) -> None:
    """Else a few answers that nobody reads fill it, and nothing comes through for anybody else."""
    rendered = yaml.safe_load(render(load(None, {})))
    found = http2_options(rendered["static_resources"][side])
    assert found
    for options in found:
        whole, one = options["initial_connection_window_size"], options["initial_stream_window_size"]
        assert whole >= one * options["max_concurrent_streams"]


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("", False),
        ("require_auth: true", True),
        ("tokens: [{name: ci, value: a-token-of-some-length-0123456789}]", True),
        ("{require_auth: false, tokens: [{name: ci, value: a-token-of-some-length-0123456789}]}", False),
        ("listen: {http: 0.0.0.0:8080}", True),
        ("{listen: {http: 0.0.0.0:8080}, allow_unauthenticated: true}", False),
    ],
)
def test_the_service_is_asked_before_a_body_where_credentials_are_needed(tmp_path: Path, text: str, asks: bool) -> None:
    configuration = tmp_path / "gateway.yaml"
    configuration.write_text(text)
    assert values(yaml.safe_load(render(load(configuration, {}))), "ask_before_body") == {asks}


def test_envoys_own_limits_are_beyond_the_services(tmp_path: Path) -> None:
    configuration = tmp_path / "gateway.yaml"
    configuration.write_text("limits: {concurrent_requests: 50_000, connections: 500, envoy_memory: 1GiB}\n")
    rendered = yaml.safe_load(render(load(configuration, {})))
    assert values(rendered, "max_active_downstream_connections") == {500}
    assert values(rendered, "max_heap_size_bytes") == {1024**3}
    for threshold in ("max_requests", "max_pending_requests"):
        assert min(values(rendered, threshold)) > 50_000


def test_envoy_takes_no_more_files_and_memory_than_there_are() -> None:
    rendered = yaml.safe_load(render(load(None, {}), most_files=4096))
    assert max(values(rendered, "max_active_downstream_connections")) < 4096
    assert values(yaml.safe_load(render(load(None, {}), memory=1024**3)), "max_heap_size_bytes") == {256 * 1024**2}
    unbounded = yaml.safe_load(render(load(None, {}), most_files=-1))
    assert values(unbounded, "max_active_downstream_connections") == {10_000}


def test_requests_are_sent_again_only_if_they_surely_never_began() -> None:
    """Anything else might be paid for twice."""
    rendered = yaml.safe_load(render(load(None, {})))
    assert values(rendered, "retry_on") == {"connect-failure,refused-stream"}


def test_the_rendered_configuration_is_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    configuration = tmp_path / "gateway.yaml"
    configuration.write_text("limits: {request_timeout: 20s}\n")
    assert main(["envoy-config", "--config", str(configuration)]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert "25s" in values(printed, "timeout")
