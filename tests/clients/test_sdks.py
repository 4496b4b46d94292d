"""Clients of OpenAI's API in other languages and versions, and gRPC's own retries: counted at the provider."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from doubles_server import doubles, doubles_process  # noqa: F401  # fixtures
from gateway_of_doubles import SIZE, asked, gateway_of_doubles, section
from running_gateway import REPOSITORY, RunningGateway

from tests.doubles.server import DoublesServer

from .conftest import skip_without
from .programs import ran

SDKS = REPOSITORY / "tests" / "clients" / "sdks"
MODEL = "openai/gpt-image-2"
# Work that may have been done, and billed, by the time that it failed.
PAID = ("reset_mid_body", "malformed_json", "reset_before_headers")

pytestmark = pytest.mark.clients


def _go(name: str) -> Callable[[Path], Sequence[str]]:
    def build(directory: Path) -> Sequence[str]:
        ran(["go", "build", "-o", directory / name, f"./{name}"], SDKS / "go")
        return [str(directory / name)]

    return build


def _java(name: str) -> Callable[[Path], Sequence[str]]:
    def build(_: Path) -> Sequence[str]:
        ran(["mvn", "-q", "-B", "install"], REPOSITORY / "gen" / "java")
        copied = "dependency:copy-dependencies"
        ran(["mvn", "-q", "-B", "package", copied], SDKS / "java")
        target = SDKS / "java" / "target"
        return ["java", "-cp", f"{target / 'sdk-tests-0.1.0.jar'}:{target / 'dependency'}/*", f"sdks.{name}"]

    return build


def _python(script: str, requirement: str) -> Callable[[Path], Sequence[str]]:
    """In an environment of its own: these need versions that the service does not."""

    def build(directory: Path) -> Sequence[str]:
        ran([sys.executable, "-m", "venv", directory], directory)
        ran([directory / "bin" / "pip", "install", "--quiet", requirement], directory)
        return [str(directory / "bin" / "python"), str(SDKS / "python" / script)]

    return build


CLIENTS = {
    "openai-go": ("go", _go("openai_go")),
    "go-openai": ("go", _go("go_openai")),
    "openai-java": ("mvn", _java("OpenaiJava")),
    "openai 0.28": ("env", _python("openai_0_28.py", "openai==0.28.1")),
    "LiteLLM": ("env", _python("litellm_sdk.py", "litellm==1.110.2")),
    "gRPC in Go": ("go", _go("grpc_retries")),
    "gRPC in Java": ("mvn", _java("GrpcRetries")),
}

Call = Callable[..., str]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, doubles_process: DoublesServer) -> Iterator[RunningGateway]:  # noqa: F811
    providers = {"openai": section(doubles_process, "openai")}
    directory = tmp_path_factory.mktemp("sdks")
    # go-openai leaves out the model.
    with gateway_of_doubles(directory, doubles_process, providers, default_route=MODEL) as running:
        yield running


@pytest.fixture(scope="module", params=CLIENTS)
def call(
    request: pytest.FixtureRequest,
    gateway: RunningGateway,
    photo: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Call:
    """Runs one client's program, which makes one variation and prints what came of it."""
    toolchain, build = CLIENTS[request.param]
    skip_without("" if shutil.which(toolchain) else f"{toolchain} is not installed")
    command = build(tmp_path_factory.mktemp("sdk"))

    def run(*, size: str = SIZE) -> str:
        told = {"BASE_URL": gateway.url, "TARGET": gateway.grpc, "IMAGE": str(photo), "MODEL": MODEL, "SIZE": size}
        done = subprocess.run(
            command, env={**os.environ, **told}, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()[-1]

    return run


def test_makes_a_variation(call: Call, doubles: DoublesServer) -> None:  # noqa: F811
    assert call() == "made 1"
    assert asked(doubles) == ["openai"]


def test_raises_its_own_error_for_a_wrong_field(call: Call, doubles: DoublesServer) -> None:  # noqa: F811
    assert call(size="999x999").upper() in {"FAILED 400", "FAILED INVALIDARGUMENT", "FAILED INVALID_ARGUMENT"}
    assert asked(doubles) == []


@pytest.mark.parametrize("failure", PAID)
def test_asks_once_for_what_may_have_been_paid(call: Call, doubles: DoublesServer, failure: str) -> None:  # noqa: F811
    doubles.state.fail("openai", failure)
    assert call().upper() in {"FAILED 502", "FAILED UNKNOWN"}
    assert asked(doubles) == ["openai"]
