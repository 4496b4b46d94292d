"""fal's own client makes the same calls as our translator, and is content with the answers of the double."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import fal_client
import fal_client.client
import pytest
from doubles_server import doubles, doubles_process  # noqa: F401  # fixtures
from live_exchange import LiveExchange, open_exchange, photo

from service.core.calls import ProviderCall
from service.core.values import ImageFormat, Size
from service.providers import wire
from tests.doubles.framework import Recorded
from tests.doubles.server import DoublesServer

MODEL = "fal-ai/flux-1/dev/redux"
SOURCE = photo()
ARGUMENTS = {
    "image_url": wire.data_url(SOURCE),
    "image_size": {"width": 1024, "height": 768},
    "num_images": 2,
    "seed": 7,
    "output_format": "jpeg",
}
CALL = ProviderCall(MODEL, SOURCE, n=2, size=Size(1024, 768), seed=7, output_format=ImageFormat.JPEG)

# The headers and parameters that the SDK sends and we do not, and why.
HEADERS_NOT_SENT = {"accept": "Any type, which is also what no such header means."}
QUERY_NOT_SENT = {"logs": "Its default is false: the logs of a model are not for our callers."}
# Of any connection, or of the client itself.
NOT_COMPARED = {"host", "user-agent", "accept-encoding", "connection", "content-length"}


@pytest.fixture
async def exchange(doubles: DoublesServer) -> AsyncIterator[LiveExchange]:  # noqa: F811  # the fixture by its name
    async with open_exchange(doubles) as opened:
        yield opened


@contextmanager
def sdk_for(exchange: LiveExchange, vendor: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[fal_client.SyncClient]:
    """The SDK, led to a double: its hosts are constants that always begin with https."""
    key = exchange.server.state.doubles[vendor].accepted_keys[0]
    for constant in ("RUN_URL_FORMAT", "QUEUE_URL_FORMAT"):
        monkeypatch.setattr(fal_client.client, constant, exchange.server.base_url(vendor) + "/")
    client = fal_client.SyncClient(key=key)
    yield client
    client._client.close()  # It has no public way to give up its connections.


def requests_of(exchange: LiveExchange, vendor: str) -> list[Recorded]:
    """Those to the vendor's API since the last reset, which follows; downloads of results are no part of it."""
    requests = [each for each in exchange.server.state.requests(vendor) if not each.path.startswith("/_files/")]
    exchange.server.state.reset()
    return requests


def essence(request: Recorded) -> dict[str, Any]:
    """A request without what is intended to differ; the ids of jobs are put aside."""
    path = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", request.path)
    query = {name: value for name, value in request.query.items() if name not in QUERY_NOT_SENT}
    left_out = NOT_COMPARED | set(HEADERS_NOT_SENT)
    headers = {name: value for name, value in request.headers.items() if name not in left_out}
    return {"method": request.method, "path": path, "query": query, "headers": headers, "json": request.json}


def assert_same(sdk: list[Recorded], ours: list[Recorded]) -> None:
    assert [essence(request) for request in ours] == [essence(request) for request in sdk]
    # The intended differences are still there: one that has gone is to be taken off the list.
    assert all(set(HEADERS_NOT_SENT) <= set(request.headers) for request in sdk)


async def test_one_request_is_the_same(exchange: LiveExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    with sdk_for(exchange, "fal-run", monkeypatch) as client:
        answer = await asyncio.to_thread(client.run, MODEL, ARGUMENTS)
    assert [image["content_type"] for image in answer["images"]] == ["image/jpeg"] * 2
    sdk = requests_of(exchange, "fal-run")
    await exchange.make("fal-run", CALL)
    assert_same(sdk, requests_of(exchange, "fal-run"))


async def test_a_conversation_with_the_queue_is_the_same(
    exchange: LiveExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sdk_for(exchange, "fal", monkeypatch) as client:
        handle = await asyncio.to_thread(client.submit, MODEL, ARGUMENTS)
        answer = await asyncio.to_thread(handle.get, interval=0.0)
    assert len(answer["images"]) == 2
    sdk = requests_of(exchange, "fal")
    assert [request.method for request in sdk] == ["POST", "GET", "GET", "GET", "GET"]
    await exchange.make("fal", CALL)
    assert_same(sdk, requests_of(exchange, "fal"))
    assert {name for request in sdk for name in request.query} == set(QUERY_NOT_SENT)


async def test_work_is_cancelled_in_the_same_way(exchange: LiveExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    with sdk_for(exchange, "fal", monkeypatch) as client:
        handle = await asyncio.to_thread(client.submit, MODEL, ARGUMENTS)
        await asyncio.to_thread(handle.cancel)
    sdk = requests_of(exchange, "fal")[-1]
    await exchange.cancelled("fal", CALL)
    ours = requests_of(exchange, "fal")[-1]
    assert essence(ours) == essence(sdk)
    assert ours.method == "PUT"


@pytest.mark.parametrize(
    ("failure", "message"), [("unauthenticated", "Authentication is required"), ("forbidden", "Exhausted balance")]
)
async def test_the_doubles_errors_are_understood_by_the_sdk(
    failure: str, message: str, exchange: LiveExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange.server.state.fail("fal-run", failure)
    with (
        sdk_for(exchange, "fal-run", monkeypatch) as client,
        pytest.raises(fal_client.FalClientHTTPError, match=message),
    ):
        await asyncio.to_thread(client.run, MODEL, ARGUMENTS)
