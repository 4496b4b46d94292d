"""Without the engine extra the service runs, and says what is not installed."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from running_gateway import REPOSITORY, RunningGateway, running_gateway

# Python runs this at every start; it makes OpenCV look as if it were not installed.
HIDES_OPENCV = """
import importlib.machinery, sys

class Hidden:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "cv2":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden)
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "cv2" else found(name, package)
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    hiding = tmp_path_factory.mktemp("hiding")
    (hiding / "sitecustomize.py").write_text(HIDES_OPENCV)
    path = f"{hiding}:{REPOSITORY}:{REPOSITORY / 'gen' / 'python'}"
    with running_gateway(tmp_path_factory.mktemp("bare"), environment={"PYTHONPATH": path}) as running:
        yield running


def test_a_request_is_told_what_to_install(bare: RunningGateway, small_png: bytes) -> None:
    answer = httpx.post(f"{bare.url}/v1/images/variations", files={"image": ("photo", small_png)})
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("api_error", "engine_not_installed")
    assert "local" in error["message"]
    assert "[engine]" in error["message"]


def test_the_models_are_listed_as_unavailable(bare: RunningGateway) -> None:
    models = {model["id"]: model for model in httpx.get(f"{bare.url}/v1/models").json()["data"]}
    assert models["local/vary"]["capabilities"]["available"] is False
    assert "not installed" in models["local/vary"]["warnings"][0]
