"""Paid work behind a queue: what garbles an answer to a poll neither loses it nor pays for it twice."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from doubles_server import doubles, doubles_process  # noqa: F401  # fixtures
from live_exchange import LiveExchange, open_exchange

from service.core.errors import ErrorKind, GatewayError
from service.routing.retry import RetryPolicy
from service.transport.upstream import ExchangeSettings
from tests.doubles.server import DoublesServer

OPTIONS = {"replicate": {"wait_s": "0"}}
CANCELS = {"fal": "PUT", "replicate": "POST", "bfl": None}
"""The method of each vendor's request that stops work; None: it has none."""
SETTINGS = ExchangeSettings(max_response_bytes=5_000_000, retry=RetryPolicy(max_retries=0, max_poll_failures=2))
GARBLED = ["malformed_json", "truncated_json", "wrong_content_type", "reset_mid_body", "huge_body"]

pytestmark = pytest.mark.parametrize("vendor", list(CANCELS))


@pytest.fixture
async def exchange(doubles: DoublesServer) -> AsyncIterator[LiveExchange]:  # noqa: F811  # the fixture by its name
    async with open_exchange(doubles) as opened:
        yield opened


def _paths(exchange: LiveExchange, vendor: str, method: str) -> list[str]:
    return [request.path for request in exchange.server.state.requests(vendor) if request.method == method]


@pytest.mark.parametrize("failure", GARBLED)
async def test_a_garbled_answer_is_asked_for_again(vendor: str, failure: str, exchange: LiveExchange) -> None:
    exchange.server.state.fail(vendor, failure, on="poll", times=2)
    outcome = await exchange.make(vendor, settings=SETTINGS, options=OPTIONS.get(vendor))
    assert outcome.result.images
    assert len(_paths(exchange, vendor, "POST")) == 1
    assert [attempt.outcome for attempt in exchange.attempts] == ["success"]


@pytest.mark.parametrize("failure", [*GARBLED, "server_error", "forbidden"])
async def test_work_that_is_given_up_is_stopped_where_the_vendor_has_a_way(
    vendor: str, failure: str, exchange: LiveExchange
) -> None:
    exchange.server.state.fail(vendor, failure, on="poll")
    with pytest.raises(GatewayError) as caught:
        await exchange.make(vendor, settings=SETTINGS, options=OPTIONS.get(vendor))
    await exchange.executor.aclose()
    assert caught.value.kind in (ErrorKind.BAD_RESPONSE, ErrorKind.UNAVAILABLE, ErrorKind.UPSTREAM_AUTH)
    method = CANCELS[vendor]
    stops = [path for path in _paths(exchange, vendor, method) if path.endswith("/cancel")] if method else []
    assert len(stops) == (1 if method else 0)
    assert len([path for path in _paths(exchange, vendor, "POST") if not path.endswith("/cancel")]) == 1
