"""The Python client as a package of its own, with the oldest and the newest protobuf and grpcio that it takes."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from running_gateway import RunningGateway

from .conftest import KEY
from .programs import CLIENTS, ran

pytestmark = pytest.mark.clients

PACKAGE = CLIENTS / "python"
SCRIPT = """
import asyncio, sys
from imagevariations_client import AsyncClient, Client, VariationError

target, key, photo = sys.argv[1:]
image = open(photo, "rb").read()

with Client(target, api_key=key) as client:
    assert "local/vary" in [model.id for model in client.models()]
    answer = client.create(image, n=2, size="256x256", seed=4294967295, fallbacks=["local/relight"])
    assert [each.b64_json[:4] for each in answer.data] == [b"\\x89PNG"] * 2
    try:
        client.create(b"", n=2)
    except VariationError as error:
        assert (error.reason, error.param, error.should_retry) == ("INVALID_IMAGE", "image", False), error
        assert error.request_id
    else:
        raise AssertionError("an empty image was taken")

async def main():
    async with AsyncClient(target, api_key=key) as client:
        kinds = [event.WhichOneof("event") async for event in client.stream(image, n=2, size="256x256")]
        assert kinds.count("image_completed") == 2 and kinds[-1] == "completed", kinds
        answer = await client.create(image, n=4, size="1024x1024")
        assert answer.ByteSize() > 4 << 20
    async with AsyncClient(target, api_key="wrong") as client:
        try:
            [event async for event in client.stream(image)]
        except VariationError as error:
            assert error.reason == "INVALID_API_KEY", error
        else:
            raise AssertionError("a wrong key was taken")

asyncio.run(main())
print("all is well")
"""


def oldest() -> list[str]:
    dependencies = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    return [dependency.replace(">=", "==") for dependency in dependencies]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    ran([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", directory, PACKAGE], directory)
    (built,) = directory.glob("*.whl")
    return built


@pytest.mark.parametrize("versions", [pytest.param(oldest(), id="oldest"), pytest.param([], id="newest")])
def test_works_on_its_own(
    versions: list[str], wheel: Path, gateway: RunningGateway, photo: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    ran([python, "-m", "pip", "install", "--quiet", wheel, *versions], tmp_path)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    # In the venv alone: nothing of this repository is on the path.
    done = subprocess.run(
        [python, "-I", "-W", "error", script, gateway.grpc, KEY, photo],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "all is well\n"), done.stderr
    installed = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    assert not versions or all(version in installed for version in versions if "googleapis" not in version)


def test_the_wheel_has_stubs_and_types(wheel: Path) -> None:
    names = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True, check=True
    ).stdout
    for name in ("imagevariations/py.typed", "imagevariations_client/py.typed", "image_variation_pb2.pyi"):
        assert re.search(re.escape(name), names), name
