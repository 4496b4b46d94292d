from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cli import main


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on, willing to share it as Envoys are by default."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("setting", "variable", "side"), [("grpc", "GRPC_PORT", "gRPC"), ("http", "HTTP_PORT", "REST")]
)
def test_a_port_in_use_is_told_with_how_to_choose_another_and_nothing_is_started(
    taken: int,
    setting: str,
    variable: str,
    side: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("GRPC_PORT", raising=False)
    monkeypatch.delenv("HTTP_PORT", raising=False)
    free = {"grpc", "http"} - {setting}
    file = tmp_path / "gateway.yaml"
    file.write_text(
        f"listen: {{{setting}: '127.0.0.1:{taken}', {free.pop()}: '127.0.0.1:0'}}\nstate_directory: {tmp_path}\n"
    )
    assert main(["up", "--config", str(file)]) == 1
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"127.0.0.1:{taken} (for {side}) is in use by another process. "
        f"Choose another port with the environment variable {variable} or with listen.{setting} in gateway.yaml.\n"
    )
