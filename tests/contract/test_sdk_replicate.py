"""Replicate's own client makes the same calls as our translator, and is content with the answers of the double."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from doubles_server import doubles, doubles_process  # noqa: F401  # fixtures
from live_exchange import LiveExchange, open_exchange, photo
from replicate.client import Client
from replicate.exceptions import ReplicateError

from service.core.calls import ProviderCall
from service.core.values import ImageFormat, Size
from service.providers import wire
from tests.doubles.framework import Recorded
from tests.doubles.server import DoublesServer

MODEL = "black-forest-labs/flux-redux-dev"
SOURCE = photo()
INPUT = {
    "redux_image": wire.data_url(SOURCE),
    "num_outputs": 2,
    "aspect_ratio": "16:9",
    "megapixels": "1",
    "seed": 7,
    "output_format": "jpg",
}
CALL = ProviderCall(MODEL, SOURCE, n=2, size=Size(1344, 768), seed=7, output_format=ImageFormat.JPEG)

# The headers that the SDK sends and we do not, and why.
HEADERS_NOT_SENT = {"accept": "Any type, which is also what no such header means."}
# Of any connection, or of the client itself.
NOT_COMPARED = {"host", "user-agent", "accept-encoding", "connection", "content-length"}


@pytest.fixture
async def exchange(doubles: DoublesServer) -> AsyncIterator[LiveExchange]:  # noqa: F811  # the fixture by its name
    async with open_exchange(doubles) as opened:
        yield opened


@contextmanager
def sdk_for(exchange: LiveExchange) -> Iterator[Client]:
    key = exchange.server.state.doubles["replicate"].accepted_keys[0]
    client = Client(api_token=key, base_url=exchange.server.base_url("replicate"))
    client.poll_interval = 0
    yield client
    client._client.close()  # It has no public way to give up its connections.


def requests_of(exchange: LiveExchange) -> list[Recorded]:
    """Those to the API since the last reset, which follows; downloads of results are no part of it."""
    requests = [each for each in exchange.server.state.requests("replicate") if not each.path.startswith("/_files/")]
    exchange.server.state.reset()
    return requests


def essence(request: Recorded) -> dict[str, Any]:
    """A request without what is intended to differ; ids of predictions are the same ones after every reset.

    The version is a part of our base URL, and of every path of the SDK.
    """
    left_out = NOT_COMPARED | set(HEADERS_NOT_SENT)
    headers = {name: value for name, value in request.headers.items() if name not in left_out}
    path = request.path.removeprefix("/v1")
    return {"method": request.method, "path": path, "headers": headers, "json": request.json}


def assert_same(sdk: list[Recorded], ours: list[Recorded]) -> None:
    assert [essence(request) for request in ours] == [essence(request) for request in sdk]
    assert all(request.path.startswith("/v1/") for request in sdk)
    # The intended differences are still there: one that has gone is to be taken off the list.
    assert all(set(HEADERS_NOT_SENT) <= set(request.headers) for request in sdk)


async def test_a_prediction_that_is_waited_for_is_the_same(exchange: LiveExchange) -> None:
    with sdk_for(exchange) as client:
        prediction = await asyncio.to_thread(client.models.predictions.create, MODEL, INPUT, wait=60)
    assert prediction.status == "succeeded"
    assert len(prediction.output or ()) == 2
    sdk = requests_of(exchange)
    await exchange.make("replicate", CALL)
    assert_same(sdk, requests_of(exchange))


async def test_a_prediction_that_is_polled_for_is_the_same(exchange: LiveExchange) -> None:
    with sdk_for(exchange) as client:
        prediction = await asyncio.to_thread(client.models.predictions.create, MODEL, INPUT)
        await asyncio.to_thread(prediction.wait)
    assert prediction.status == "succeeded"
    sdk = requests_of(exchange)
    assert [request.method for request in sdk] == ["POST", "GET", "GET"]
    await exchange.make("replicate", CALL, options={"wait_s": "0"})
    assert_same(sdk, requests_of(exchange))


async def test_one_fixed_version_is_asked_for_in_the_same_way(exchange: LiveExchange) -> None:
    with sdk_for(exchange) as client:
        await asyncio.to_thread(client.predictions.create, version="73001d65", input=INPUT, wait=60)
    sdk = requests_of(exchange)
    await exchange.make("replicate", replace(CALL, model=f"{MODEL}:73001d65"))
    assert_same(sdk, requests_of(exchange))


async def test_work_is_cancelled_in_the_same_way(exchange: LiveExchange) -> None:
    with sdk_for(exchange) as client:
        prediction = await asyncio.to_thread(client.models.predictions.create, MODEL, INPUT)
        await asyncio.to_thread(prediction.cancel)
    assert prediction.status == "canceled"
    sdk = requests_of(exchange)[-1]
    await exchange.cancelled("replicate", CALL, options={"wait_s": "0"})
    ours = requests_of(exchange)[-1]
    assert_same([sdk], [ours])
    assert ours.path.endswith("/cancel")


@pytest.mark.parametrize(
    ("failure", "status", "message"),
    [
        ("unauthenticated", 401, "You did not pass a valid authentication token"),
        ("payment_required", 402, "You have insufficient credit"),
        ("model_gone", 404, "The requested resource could not be found"),
    ],
)
async def test_the_doubles_errors_are_understood_by_the_sdk(
    failure: str, status: int, message: str, exchange: LiveExchange
) -> None:
    exchange.server.state.fail("replicate", failure)
    with sdk_for(exchange) as client, pytest.raises(ReplicateError) as caught:
        await asyncio.to_thread(client.models.predictions.create, MODEL, INPUT)
    assert caught.value.status == status
    assert message in str(caught.value.detail)
