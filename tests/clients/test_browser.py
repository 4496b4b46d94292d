"""A web page of another origin: grpc-web through Envoy, by Connect, in a real browser."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from running_gateway import RunningGateway

from .conftest import KEY, skip_without
from .programs import CLIENTS, ran

pytestmark = pytest.mark.clients

# All that would call home is off: there may be no network.
BROWSER = (
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


class PageServer(ThreadingHTTPServer):
    """Serves the page and its parts, and takes the report that it sends in the end."""

    def __init__(self, files: dict[str, tuple[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.reports: queue.Queue[Any] = queue.Queue()


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        kind, content = self.server.files.get(self.path.partition("?")[0], ("text/plain", b""))
        self.send_response(200 if content else 404)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.server.reports.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def report(gateway: RunningGateway, photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The findings of the page."""
    skip_without(next((f"{each} is not installed" for each in ("npm", "chromium") if not shutil.which(each)), ""))
    ran(["npm", "ci", "--silent", "--prefer-offline"], CLIENTS / "typescript")
    ran(["npm", "run", "--silent", "build:page"], CLIENTS / "typescript")
    page = PageServer(
        {
            "/": ("text/html", (Path(__file__).parent / "browser_page.html").read_bytes()),
            "/browser.js": ("text/javascript", (CLIENTS / "typescript" / "dist" / "browser.bundle.js").read_bytes()),
            "/photo.jpg": ("image/jpeg", photo.read_bytes()),
        }
    )
    threading.Thread(target=page.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{page.server_port}/?{urlencode({'gateway': gateway.url, 'key': KEY})}"
    profile = tmp_path_factory.mktemp("chromium")
    # A port to be driven by keeps it from leaving as soon as the page has loaded.
    browser = subprocess.Popen(
        [*BROWSER, "--remote-debugging-port=0", f"--user-data-dir={profile}", address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield page.reports.get(timeout=90)
    finally:
        browser.terminate()
        browser.wait(20)
        page.shutdown()
        page.server_close()


def test_images_come_one_by_one(report: dict[str, Any]) -> None:
    assert report["stream"] == [[256, 256]] * 2


def test_an_answer_may_be_large(report: dict[str, Any]) -> None:
    assert report["unary"] > 4 << 20


@pytest.mark.parametrize("call", ["failed", "failed stream"])
def test_failures_are_told_with_their_details(report: dict[str, Any], call: str) -> None:
    assert report[call] == {
        "code": "InvalidArgument",
        "message": "n must be a whole number from 1 to 10, not 11.",
        "reason": "INVALID_N",
        "param": "n",
    }


def test_the_credential_counts(report: dict[str, Any]) -> None:
    assert report["wrong key"]["reason"] == "INVALID_API_KEY"
