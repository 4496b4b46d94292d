"""Whether results can be stored, as load balancers see it and as callers do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gateway_of_doubles import VARIATIONS, gateway_of_doubles
from running_gateway import RunningGateway
from waiting import wait_until

from tests.doubles.server import DoublesServer


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, doubles_process: DoublesServer) -> Iterator[RunningGateway]:
    with gateway_of_doubles(
        tmp_path_factory.mktemp("ready"), doubles_process, {}, results={"store": "kept"}
    ) as running:
        yield running


def kept(gateway: RunningGateway) -> Path:
    return next(each for each in gateway.directory.rglob("kept") if each.is_dir())


def test_a_gateway_that_cannot_store_results_is_alive_and_not_ready(gateway: RunningGateway, small_png: bytes) -> None:
    directory = kept(gateway)
    with httpx.Client(base_url=gateway.url, timeout=20, trust_env=False) as client:

        def told(path: str) -> int:
            return client.get(path).status_code

        directory.rename(directory.with_name("away"))
        # A file in its place cannot be written into, not even by root.
        directory.write_bytes(b"")
        wait_until(lambda: told("/readyz") == 503, within_s=20)
        assert told("/healthz") == 200
        # A caller who asks all the same gets the images that were paid for, and no link.
        answer = client.post(VARIATIONS, data={"response_format": "url"}, files={"image": small_png})
        assert answer.status_code == 200, answer.text
        assert answer.json()["data"][0]["b64_json"]
        assert any("cannot be stored" in str(line.get("message")) for line in gateway.log_lines("service.results"))

        directory.unlink()
        directory.with_name("away").rename(directory)
        wait_until(lambda: told("/readyz") == 200, within_s=20)
        answer = client.post(VARIATIONS, data={"response_format": "url"}, files={"image": small_png})
        assert httpx.get(answer.json()["data"][0]["url"], trust_env=False).status_code == 200
