"""Nothing of ours or of our dependencies talks to anybody who was not configured, or leaves files anywhere else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import spied
import yaml
from attacked_gateway import configuration
from running_gateway import REPOSITORY, running_gateway

from tests.doubles.server import DoublesServer

VARIATIONS = "/v1/images/variations"
# Telemetry that was found in a dependency reported home within 45 s of its start, the first time after 7.
_WATCHED_S = 15.0
# Files may also be made here, besides the gateway's own directory: devices, and the compiled engine that tests share.
_SHARED = ("/dev", "/proc", os.environ.get("NUMBA_CACHE_DIR", str(REPOSITORY / ".gateway" / "cache")))

pytestmark = pytest.mark.skipif(bool(spied.why_not()), reason=spied.why_not() or "it can be watched")


def test_the_spy_sees_connections_look_ups_and_files(tmp_path: Path) -> None:
    spy, home = spied.Spy(tmp_path / "calls"), tmp_path / "home"
    home.mkdir()
    code = (
        "import pathlib, socket\n"
        "for address, port in (('192.0.2.1', 443), ('127.0.0.1', 53), ('127.0.0.1', 8080)):\n"
        "    socket.socket(type=socket.SOCK_DGRAM).connect((address, port))\n"
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('198.51.100.1', 9))\n"
        f"pathlib.Path({str(home / 'id')!r}).write_text('x')\n"
    )
    subprocess.run([*spy.command, sys.executable, "-c", code], check=False, timeout=60)
    time.sleep(0.5)  # noqa: TID251 - the spy is another process, and writes its last lines
    assert {("192.0.2.1", 443), ("127.0.0.1", 53), ("198.51.100.1", 9)} <= spy.reached()
    assert ("127.0.0.1", 8080) not in spy.reached()
    assert home / "id" in spy.written()


@pytest.mark.slow
def test_a_whole_gateway_reaches_nobody_who_is_not_configured(
    tmp_path: Path, provider: DoublesServer, upload: bytes
) -> None:
    spy, home = spied.Spy(tmp_path / "calls"), tmp_path / "home"
    home.mkdir()
    document = yaml.safe_load(configuration(provider))
    document |= {"engine": {"enabled": True, "warm_up": True}, "default_route": "local/vary"}
    # Without byte code: a checkout's would be written beside the source.
    environment = {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    with running_gateway(tmp_path / "gateway", yaml.safe_dump(document), environment, before=spy.command) as gateway:
        with httpx.Client(base_url=gateway.url, timeout=120, trust_env=False) as client:
            for model in ("local/vary", "local/recompose", "local/relight", "local/restyle", "fixed/any"):
                fields = {"model": model, "response_format": "url", "size": "512x512"}
                answer = client.post(VARIATIONS, data=fields, files={"image": upload})
                assert answer.status_code == 200, answer.text
                assert client.get(answer.json()["data"][0]["url"]).status_code == 200
        time.sleep(_WATCHED_S)  # noqa: TID251 - what reports home does so after a while, in another process
    assert spy.reached() == set()
    assert list(home.rglob("*")) == []
    own = (str(tmp_path / "gateway"), *_SHARED)
    assert [path for path in spy.written() if not str(path).startswith(own)] == []
