"""The example programs of clients/ against a running gateway, directly and through Envoy."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image
from running_gateway import RunningGateway

from service.core.errors import ErrorKind, GatewayError, invalid
from service.core.values import Attempt

from .conftest import KEY, skip_without
from .programs import PROGRAMS, Caller
from .refusing_server import refusing_server

QUICK = ("Python", "Go", "TypeScript", "Java")


@pytest.fixture(
    scope="session",
    params=[*QUICK, *(pytest.param(name, marks=pytest.mark.clients) for name in PROGRAMS if name not in QUICK)],
)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Caller:
    program = PROGRAMS[request.param]
    skip_without(program.missing())
    return Caller(program, program.build(tmp_path_factory.mktemp(program.name)), "", KEY)


@pytest.fixture(params=["directly", "through Envoy"])
def call(request: pytest.FixtureRequest, built: Caller, gateway: RunningGateway) -> Caller:
    target = gateway.grpc if request.param == "directly" else gateway.url.removeprefix("http://")
    return Caller(built.program, built.command, target, built.key)


def test_images_are_saved_as_they_come(call: Caller, tmp_path: Path) -> None:
    # A picture that the cache does not know.
    Image.frombytes("RGB", (8, 6), os.urandom(144)).resize((160, 120)).save(tmp_path / "noise.png")
    done = call("--n", "2", "--size", "256x256", "--out", str(tmp_path / "new"), str(tmp_path / "noise.png"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("trying local/vary", "done by local")
    assert sorted(lines[1:-1]) == [f"saved {tmp_path / 'new' / name}" for name in ("0.png", "1.png")]
    images = [(tmp_path / "new" / name).read_bytes() for name in ("0.png", "1.png")]
    assert [Image.open(io.BytesIO(image)).size for image in images] == [(256, 256)] * 2


def test_an_answer_may_be_larger_than_grpc_takes_by_default(call: Caller, photo: Path, tmp_path: Path) -> None:
    done = call("--whole", "--n", "4", "--size", "1024x1024", "--out", str(tmp_path), str(photo))
    assert done.returncode == 0, done.stderr
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) > 4 << 20


def test_a_failure_is_told_with_its_details(call: Caller, photo: Path) -> None:
    done = call("--n", "11", str(photo))
    assert done.returncode == 1
    kind, *details = done.stderr.splitlines()
    assert kind.lower().replace("_", "") == "invalidargument: n must be a whole number from 1 to 10, not 11."
    assert "reason INVALID_N" in details
    assert any(line.startswith("field n") for line in details)
    assert any(line.startswith("request ") for line in details)


def test_time_may_run_out(built: Caller, photo: Path) -> None:
    with refusing_server() as (_, target):
        done = built("--whole", str(photo), target=target, timeout_s=0.3)
    assert done.returncode == 1
    first = done.stderr.splitlines()[0].lower().replace("_", "")
    # Rust's client names its own timer so.
    assert first.startswith(("deadlineexceeded", "cancelled: timeout expired"))


def test_the_credential_is_sent(call: Caller, photo: Path) -> None:
    done = call("--size", "256x256", str(photo), key="another")
    assert done.returncode == 1
    assert "reason INVALID_API_KEY" in done.stderr


def test_a_call_is_repeated_where_the_gateway_says_so(built: Caller, photo: Path, tmp_path: Path) -> None:
    busy = GatewayError(ErrorKind.RATE_LIMITED, "Slow down.", retry_after_s=0.1, may_have_run=False)
    with refusing_server(busy, busy) as (server, target):
        done = built("--out", str(tmp_path), str(photo), target=target)
    assert done.returncode == 0, done.stderr
    assert len(server.asked) == 3
    assert {request.image for request in server.asked} == {photo.read_bytes()}
    assert (tmp_path / "0.png").read_bytes() == b"image"


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(GatewayError(ErrorKind.UNAVAILABLE, "Lost.", retry_after_s=0.1), id="it may have been paid for"),
        pytest.param(invalid("n", "n is wrong."), id="it would fail again"),
    ],
)
def test_a_call_is_not_repeated_otherwise(built: Caller, photo: Path, tmp_path: Path, error: GatewayError) -> None:
    error = error.replaced(attempts=(Attempt("fal", "x", "main", 12, "timeout"),))
    with refusing_server(error) as (server, target):
        done = built("--out", str(tmp_path), str(photo), target=target)
    assert done.returncode == 1
    assert "attempt fal/x: timeout" in done.stderr
    assert len(server.asked) == 1


def test_a_call_is_not_repeated_for_ever(built: Caller, photo: Path) -> None:
    busy = GatewayError(ErrorKind.RATE_LIMITED, "Slow down.", retry_after_s=0.1, may_have_run=False)
    with refusing_server(*[busy] * 9) as (server, target):
        assert built(str(photo), target=target).returncode == 1
    assert len(server.asked) == 3
