"""The example with grpc-gateway beside Envoy, before the same service: the same answers."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from running_gateway import REPOSITORY, RunningGateway, free_ports

from .conftest import KEY, skip_without
from .programs import ran

pytestmark = pytest.mark.clients

EXAMPLE = REPOSITORY / "examples" / "grpc-gateway"
VARIATIONS = "/v1/images/variations"
STREAM = "/v1/images/variations:stream"
# The fields that differ in every answer.
PASSING = {"id", "created", "latency", "url", "cache_debug", "request_id"}
HEADERS = (
    "x-provider",
    "x-model",
    "x-fallback-index",
    "x-request-id",
    "retry-after",
    "www-authenticate",
    "cache-control",
)


@pytest.fixture(scope="module")
def beside(gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the example, before the same service as Envoy."""
    skip_without("" if shutil.which("go") else "go is not installed")
    directory = tmp_path_factory.mktemp("grpc-gateway")
    ran(["go", "build", "-o", directory / "grpc-gateway", "."], EXAMPLE)
    (port,) = free_ports(1)
    command = [str(directory / "grpc-gateway"), "-listen", f"127.0.0.1:{port}", "-service", gateway.grpc]
    process = subprocess.Popen(command)
    try:
        for _ in range(200):
            try:
                httpx.get(f"http://127.0.0.1:{port}/v1/models", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.05)  # noqa: TID251 - waits for another process
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def small() -> bytes:
    buffer = io.BytesIO()
    with Image.open(REPOSITORY / "samples" / "coffee.jpg") as photo:
        photo.resize((160, 120)).save(buffer, "PNG")
    return buffer.getvalue()


PNG = small()
BASE64 = base64.b64encode(PNG).decode()
FORM: dict[str, Any] = {"files": {"image": PNG}}
SEEDED = {"size": "256x256", "seed": 7, "response_format": "b64_json"}


def form(**fields: str) -> dict[str, Any]:
    return {**FORM, "data": fields}


def body(**fields: Any) -> dict[str, Any]:
    return {"json": {"image": BASE64, **fields}}


TOKEN = {"authorization": f"Bearer {KEY}"}
REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "json": ("POST", VARIATIONS, body(**SEEDED)),
    "json, two": ("POST", VARIATIONS, body(**SEEDED, n=2)),
    "json, links": ("POST", VARIATIONS, body(size="256x256", seed=7, n=2)),
    "json, webp": ("POST", VARIATIONS, body(**SEEDED, output_format="webp")),
    "json, every knob": (
        "POST",
        VARIATIONS,
        body(**SEEDED, strength=0.5, user="u", quality="high", background="opaque", prompt="é 夜"),
    ),
    "json, fallbacks": ("POST", VARIATIONS, body(**SEEDED, model="local/vary", fallbacks=[{"model": "local/relight"}])),
    "json, data url": (
        "POST",
        VARIATIONS,
        {"json": {"image_url": f"data:image/png;base64,{BASE64}", **SEEDED}},
    ),
    "json, unknown field": ("POST", VARIATIONS, body(**SEEDED, something_new=1)),
    "json, request id": ("POST", VARIATIONS, {**body(**SEEDED), "headers": {**TOKEN, "x-request-id": "mine-1"}}),
    "json, x-api-key": ("POST", VARIATIONS, {**body(**SEEDED), "headers": {"x-api-key": KEY}}),
    "json stream": ("POST", STREAM, body(**SEEDED)),
    "form": ("POST", VARIATIONS, form(size="256x256", seed="7", response_format="b64_json")),
    "form, links": ("POST", VARIATIONS, form(size="256x256", seed="7")),
    "form, fallbacks": ("POST", VARIATIONS, form(size="256x256", seed="7", fallbacks="local/relight")),
    "form stream": ("POST", STREAM, form(size="256x256", seed="7", response_format="b64_json")),
    "models": ("GET", "/v1/models", {}),
    "models, a page": ("GET", "/v1/models?page_size=2", {}),
    "models, no such page": ("GET", "/v1/models?page_token=x", {}),
    "n too large": ("POST", VARIATIONS, body(n=11)),
    "n too large, form": ("POST", VARIATIONS, form(n="11")),
    "n too large, stream": ("POST", STREAM, body(n=11)),
    "n is no number, form": ("POST", VARIATIONS, form(n="x")),
    "size wrong": ("POST", VARIATIONS, body(size="1x1")),
    "no image": ("POST", VARIATIONS, {"json": {}}),
    "not an image": ("POST", VARIATIONS, {"json": {"image": "AAAA"}}),
    "unknown model": ("POST", VARIATIONS, body(model="nobody/nothing")),
    "wrong key": ("POST", VARIATIONS, {**body(), "headers": {"authorization": "Bearer nobody"}}),
    "wrong key, form": ("POST", VARIATIONS, {**form(), "headers": {"authorization": "Bearer nobody"}}),
    "no key, models": ("GET", "/v1/models", {"headers": {}}),
    "bad timeout": ("POST", VARIATIONS, {**body(), "headers": {**TOKEN, "x-request-timeout-ms": "soon"}}),
    "content type": ("POST", VARIATIONS, {"content": b"x", "headers": {**TOKEN, "content-type": "text/plain"}}),
    "no such path": ("GET", "/v2/nothing", {}),
    "method": ("GET", VARIATIONS, {}),
    "no such file": ("GET", "/v1/images/files/x.png?expires=1&signature=y", {}),
    "no such cache entry": ("DELETE", "/v1/cache/0123456789abcdef0123456789abcdef", {}),
    "cache namespace": ("DELETE", "/v1/cache/namespaces/none", {}),
}


def asked(base: str, request: tuple[str, str, dict[str, Any]]) -> httpx.Response:
    method, path, content = request
    return httpx.request(method, base + path, **{"headers": TOKEN, **content}, timeout=60, trust_env=False)


def documents(answer: httpx.Response) -> list[Any]:
    """The JSON of an answer, or that of each of its events."""
    if answer.headers["content-type"] == "text/event-stream":
        events = answer.text.removesuffix("\n\n").split("\n\n")
        return [without_passing(json.loads(event.removeprefix("data: "))) for event in events]
    return [without_passing(answer.json())]


def without_passing(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: "…" if name in PASSING else without_passing(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_passing(inner) for inner in value]
    return value


def test_there_are_thirty_requests_at_least() -> None:
    assert len(REQUESTS) >= 30


@pytest.mark.parametrize("name", REQUESTS)
def test_the_answer_is_the_same(name: str, gateway: RunningGateway, beside: str) -> None:
    asked(gateway.url, REQUESTS[name])  # so that both find the pictures in the cache
    by_envoy, by_library = asked(gateway.url, REQUESTS[name]), asked(beside, REQUESTS[name])
    assert by_library.status_code == by_envoy.status_code, by_library.text
    assert by_library.headers["content-type"] == by_envoy.headers["content-type"]
    assert documents(by_library) == documents(by_envoy)
    # Without a caller's own, both make a request id of their own.
    mine = {header: by_library.headers.get(header) for header in HEADERS}
    its = {header: by_envoy.headers.get(header) for header in HEADERS}
    if by_envoy.headers.get("x-request-id") != "mine-1":
        mine["x-request-id"] = its["x-request-id"] = "…"
    assert mine == its


def test_a_file_of_several_pieces_is_not_damaged(gateway: RunningGateway, beside: str, photo: Path) -> None:
    request = {"image": base64.b64encode(photo.read_bytes()).decode(), "size": "1024x1024"}
    (image,) = httpx.post(beside + VARIATIONS, json=request, headers=TOKEN, timeout=60).json()["data"]
    assert image["url"].startswith(beside)
    by_library = httpx.get(image["url"], trust_env=False)
    by_envoy = httpx.get(re.sub("^http://[^/]+", gateway.url, image["url"]), trust_env=False)
    assert len(by_envoy.content) > 2 * 256 * 1024
    assert by_library.content == by_envoy.content
    assert by_library.headers["content-type"] == by_envoy.headers["content-type"] == "image/png"


def test_more_than_four_megabytes_pass(beside: str, photo: Path) -> None:
    request = {"size": "1024x1024", "n": "4", "response_format": "b64_json"}
    answer = httpx.post(
        beside + VARIATIONS, data=request, files={"image": photo.read_bytes()}, headers=TOKEN, timeout=60
    )
    assert sum(len(base64.b64decode(image["b64_json"])) for image in answer.json()["data"]) > 4 << 20


def test_the_generated_code_is_up_to_date(tmp_path: Path) -> None:
    skip_without("" if shutil.which("go") else "go is not installed")
    version = next(
        line.split()[-1] for line in (EXAMPLE / "go.mod").read_text().splitlines() if "grpc-gateway/v2 v" in line
    )
    plugin = f"github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-grpc-gateway@{version}"
    ran(["go", "install", plugin], tmp_path, {"GOBIN": str(tmp_path)})
    buf = REPOSITORY / ".venv" / "bin" / "buf"
    template = "examples/grpc-gateway/buf.gen.gateway.yaml"
    path = f"{tmp_path}:/usr/bin:/bin"
    ran([buf, "generate", "--template", template, "--output", tmp_path / "new"], REPOSITORY, {"PATH": path})
    generated = tmp_path / "new" / "examples" / "grpc-gateway" / "gateway"
    files = sorted(file.relative_to(generated) for file in generated.rglob("*.go"))
    assert len(files) == 4
    for file in files:
        assert (generated / file).read_text() == (EXAMPLE / "gateway" / file).read_text(), file
