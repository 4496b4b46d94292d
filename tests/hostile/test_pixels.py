"""Files of a few bytes that hold pictures of hundreds of megabytes."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from attacked_gateway import configuration
from PIL import Image
from running_gateway import RunningGateway, running_gateway

from bench.processes import command_of, family, resident_mb
from tests.doubles.server import DoublesServer

VARIATIONS = "/v1/images/variations"
_BUDGET_MB = 400
_AT_ONCE = 12


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory, provider: DoublesServer) -> Iterator[RunningGateway]:
    """A gateway with a cache and little memory: two such pictures do not fit into it at once."""
    document = configuration(provider, limits={"memory": f"{_BUDGET_MB}MB"}, engine={"enabled": False, "workers": 8})
    with running_gateway(tmp_path_factory.mktemp("bounded"), document) as running:
        yield running


def bomb(colour: int) -> bytes:
    """A picture of 49 megapixels and one colour: 147 MB of pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (7_000, 7_000), (colour, 0, 0)).save(buffer, "WEBP", lossless=True, method=0)
    return buffer.getvalue()


def memory_mb(gateway: RunningGateway) -> float:
    """The memory of the service's processes in MB; Envoy sees no pixels."""
    return resident_mb([each for each in family(gateway.process.pid) if "serve" in command_of(each).split()])


@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False])
def test_small_files_of_large_pictures_hold_no_more_memory_than_there_is(
    bounded: RunningGateway, *, same: bool
) -> None:
    bombs = [bomb(0 if same else 20 * number + 1) for number in range(_AT_ONCE)]
    assert max(map(len, bombs)) < 100_000
    before, peak, done = memory_mb(bounded), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, memory_mb(bounded))

    def send(image: bytes) -> int:
        answer = httpx.post(bounded.url + VARIATIONS, files={"image": image}, timeout=120, trust_env=False)
        assert answer.status_code == 200 or answer.json()["error"]["code"], answer.text
        return answer.status_code

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        with ThreadPoolExecutor(_AT_ONCE) as callers:
            statuses = list(callers.map(send, bombs))
    finally:
        done.set()
        watching.join()
    assert not [status for status in statuses if status >= 500]
    assert peak - before < 1.3 * _BUDGET_MB
