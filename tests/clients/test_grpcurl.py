"""grpcurl, which knows nothing but what reflection tells it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from running_gateway import RunningGateway

from .conftest import KEY, skip_without
from .programs import ran

GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"
SERVICE = "imagevariations.v1.ImageVariationService"

pytestmark = pytest.mark.clients


@pytest.fixture(scope="session")
def grpcurl(tmp_path_factory: pytest.TempPathFactory) -> str:
    skip_without("" if shutil.which("go") else "go is not installed")
    directory = tmp_path_factory.mktemp("grpcurl")
    ran(["go", "install", GRPCURL], directory, {"GOBIN": str(directory)})
    return str(directory / "grpcurl")


@pytest.fixture(params=["directly", "through Envoy"])
def call(request: pytest.FixtureRequest, grpcurl: str, gateway: RunningGateway) -> Callable[..., str]:
    target = gateway.grpc if request.param == "directly" else gateway.url.removeprefix("http://")

    def run(*verbs: str, flags: tuple[str, ...] = (), data: str = "", ends: int = 0) -> str:
        done = subprocess.run(
            [grpcurl, "-plaintext", "-H", f"authorization: Bearer {KEY}", *flags, target, *verbs],
            input=data,
            capture_output=True,
            text=True,
            env=dict(os.environ),
            timeout=60,
            check=False,
        )
        assert done.returncode == ends, done.stderr
        return done.stdout + done.stderr

    return run


def test_services_are_listed(call: Callable[..., str]) -> None:
    assert {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= set(call("list").split())


@pytest.mark.parametrize(
    "symbol",
    [
        SERVICE,
        f"{SERVICE}.StreamImageVariation",
        "imagevariations.v1.ModelService.ListModels",
        "imagevariations.v1.CreateImageVariationRequest",
        "imagevariations.v1.ErrorReason",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection.ServerReflectionInfo",
    ],
)
def test_symbols_are_described(call: Callable[..., str], symbol: str) -> None:
    assert f"{symbol} is a" in call("describe", symbol)


def test_variations_are_made(call: Callable[..., str], photo: Path) -> None:
    request = {"image": base64.b64encode(photo.read_bytes()).decode(), "size": "256x256", "n": 2, "seed": 7}
    flags = ("-d", "@", "-max-msg-sz", str(100 << 20))
    answer = json.loads(call(f"{SERVICE}.CreateImageVariation", flags=flags, data=json.dumps(request)))
    assert [sorted(each) for each in answer["data"]] == [["index", "url"]] * 2


def test_failures_are_told_with_their_details(call: Callable[..., str]) -> None:
    told = call(f"{SERVICE}/CreateImageVariation", flags=("-d", "{}"), ends=64 + 3)
    assert '"reason": "MISSING_IMAGE"' in told
    assert "type.googleapis.com/imagevariations.v1.RequestError" in told
