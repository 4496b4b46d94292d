"""Other people's proxies before ours, as they come: nginx asks in HTTP/1.0, HAProxy keeps and shares connections."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from raw_http import VARIATIONS, exchange, request_head
from running_gateway import RunningGateway, free_ports

NGINX = """
daemon off; worker_processes 1; error_log {directory}/error.log; pid {directory}/pid;
events {{ }}
http {{
  access_log off; client_max_body_size 60m; client_body_buffer_size 60m; proxy_max_temp_file_size 0;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{gateway}; }} }}
}}
"""
HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend public
  bind 127.0.0.1:{port}
  default_backend gateway
backend gateway
  server one {gateway}
"""
COMMANDS = {
    "nginx": (NGINX, ["nginx", "-p", "{directory}", "-c", "{directory}/configuration"]),
    "haproxy": (HAPROXY, ["haproxy", "-db", "-f", "{directory}/configuration"]),
}


@pytest.fixture(params=sorted(COMMANDS))
def proxy(request: pytest.FixtureRequest, gateway: RunningGateway, tmp_path: Path) -> Iterator[str]:
    """A proxy of somebody's before the gateway; the value is where it is reached."""
    text, command = COMMANDS[request.param]
    program = shutil.which(command[0], path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    port = free_ports(1)[0]
    values = {"directory": str(tmp_path), "port": port, "gateway": urlsplit(gateway.url).netloc}
    (tmp_path / "configuration").write_text(text.format(**values))
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            [program, *(each.format(**values) for each in command[1:])], stdout=output, stderr=output
        )
    try:
        _wait_until_reached(f"http://127.0.0.1:{port}/healthz", tmp_path / "output")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_reached(url: str, output: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2, trust_env=False).status_code == 200:
                return
        time.sleep(0.05)  # noqa: TID251 - waits for another process, not on an event loop
    raise AssertionError(output.read_text())


def test_variations_come_through(proxy: str, photo: bytes) -> None:
    with httpx.Client(base_url=proxy, timeout=60, trust_env=False) as client:
        for _ in range(2):
            answer = client.post(
                VARIATIONS, files={"image": ("a.jpg", photo)}, data={"size": "256x256", "response_format": "b64_json"}
            )
            assert answer.status_code == 200, answer.text
            assert answer.json()["data"][0]["b64_json"]
        refused = client.post(VARIATIONS, files={"image": ("a.jpg", photo)}, data={"n": "99"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_n")


def test_events_come_through(proxy: str, photo: bytes) -> None:
    with (
        httpx.Client(base_url=proxy, timeout=60, trust_env=False) as client,
        client.stream(
            "POST", f"{VARIATIONS}:stream", files={"image": ("a.jpg", photo)}, data={"n": "2", "size": "256x256"}
        ) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert "image_variation.completed" in events[-1]


@pytest.mark.parametrize(
    "head", [request_head("/v1/models", method="GET", version="1.0"), b"GET /v1/models HTTP/1.0\r\n\r\n"]
)
def test_http_1_0_is_served_with_or_without_a_host(gateway: RunningGateway, head: bytes) -> None:
    answer = exchange(gateway.url, head)
    assert answer.status == 200
    assert answer.headers["connection"] == "close"
    assert b"local/vary" in answer.body


def test_links_for_a_caller_without_a_host_start_as_configured(gateway: RunningGateway, photo: bytes) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + photo + b"\r\n--x--\r\n"
    content = f"content-type: multipart/form-data; boundary=x\r\ncontent-length: {len(body)}\r\n"
    head = f"POST {VARIATIONS} HTTP/1.0\r\n{content}\r\n"
    answer = exchange(gateway.url, head.encode() + body)
    assert answer.status == 200
    assert gateway.url.encode() in answer.body
