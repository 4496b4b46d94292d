"""Callers who ask for much and read nothing. Envoy carries everybody's answers over a few connections to the service:
whoever fills the window of one of them holds up all who share it."""

from __future__ import annotations

import httpx
import pytest
from raw_http import VARIATIONS, form_request, many_connections
from running_gateway import RunningGateway

READERS = 32


@pytest.fixture
def cached_answer(client: httpx.Client, small_image: bytes) -> dict[str, str]:
    """Fields of a request whose answer, 17 MB of it, is in the cache: it costs the attacker and us next to nothing."""
    fields = {"n": "4", "response_format": "b64_json"}
    answer = client.post(VARIATIONS, files={"image": ("a.png", small_image)}, data=fields)
    assert answer.status_code == 200
    assert len(answer.content) > 16_000_000
    return fields


@pytest.mark.parametrize("path", [f"{VARIATIONS}:stream", VARIATIONS])
def test_others_are_served_while_nobody_reads(
    gateway: RunningGateway, client: httpx.Client, small_image: bytes, cached_answer: dict[str, str], path: str
) -> None:
    with many_connections(gateway.url, READERS, receive_buffer=4096) as readers:
        for reader in readers:
            reader.sendall(form_request(small_image, path=path, headers=None, **cached_answer))
        for reader in readers:
            # The answers have begun, so the windows fill.
            assert reader.recv(12) == b"HTTP/1.1 200"
        for _ in range(10):
            assert client.get("/v1/models").status_code == 200
            answer = client.post(VARIATIONS, files={"image": ("a.png", small_image)}, data=cached_answer)
            assert answer.status_code == 200
