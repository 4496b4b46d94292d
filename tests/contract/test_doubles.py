"""Every vendor's double, called by our own translators and executor over real sockets.

The doubles are strict, so this is the proof that what we send is what the vendor's documentation asks for, and that
each of a vendor's ways to fail ends as the right kind of error.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import pytest
from doubles_server import doubles, doubles_process  # noqa: F401  # fixtures
from live_exchange import LiveExchange, call_for, open_exchange
from PIL import Image

from service.core.errors import ErrorKind, GatewayError
from service.routing.retry import RetryPolicy
from service.transport.upstream import CallOutcome, ExchangeSettings
from tests.doubles.app import all_doubles
from tests.doubles.server import DoublesServer

DOUBLES = {double.name: double for double in all_doubles()}
SETTINGS = ExchangeSettings(max_response_bytes=5_000_000, retry=RetryPolicy(max_retries=0))
IMPATIENT = ExchangeSettings(retry=RetryPolicy(max_retries=0, attempt_timeout_s=0.2))
HANDS_OVER_URLS = {"bfl", "dashscope", "fal", "fal-run", "freepik", "ideogram", "replicate", "wavespeed"}

pytestmark = pytest.mark.parametrize("vendor", list(DOUBLES))


@pytest.fixture
async def exchange(doubles: DoublesServer) -> AsyncIterator[LiveExchange]:  # noqa: F811  # the fixture by its name
    async with open_exchange(doubles) as opened:
        yield opened


def _opened(outcome: CallOutcome) -> list[Image.Image]:
    return [Image.open(io.BytesIO(image.data)) for image in outcome.result.images]


async def test_makes_different_images_of_the_size_asked_for(vendor: str, exchange: LiveExchange) -> None:
    call = call_for(DOUBLES[vendor])
    outcome = await exchange.make(vendor, call)
    images = _opened(outcome)
    assert len(images) == call.n
    assert len({image.tobytes() for image in images}) == call.n
    assert {image.size for image in images} == {(call.size.width, call.size.height) if call.size else (320, 320)}
    if call.output_format:
        assert {(image.format or "").lower() for image in images} == {call.output_format.value}
    assert not outcome.result.warnings
    assert [attempt.outcome for attempt in exchange.attempts] == ["success"]


async def test_another_key_is_tried_when_one_is_refused(vendor: str, exchange: LiveExchange) -> None:
    if len(DOUBLES[vendor].accepted_keys) < 2 or DOUBLES[vendor].key_parts:
        return
    exchange.server.state.fail(vendor, "unauthenticated", times=1)
    await exchange.make(vendor, keys=2)
    assert [attempt.outcome for attempt in exchange.attempts] == [ErrorKind.UPSTREAM_AUTH.value, "success"]
    assert len({attempt.key for attempt in exchange.attempts}) == 2


async def test_a_rate_limit_is_waited_out_for_as_long_as_it_says(vendor: str, exchange: LiveExchange) -> None:
    exchange.server.state.fail(vendor, "rate_limited", hint="retry-after", seconds=7, times=1)
    await exchange.make(vendor, settings=ExchangeSettings(retry=RetryPolicy(max_retries=1)))
    # The executor waits for the rest of the seven seconds, counted from when it had the answer.
    assert max(exchange.waits) == pytest.approx(7, abs=0.5)


@pytest.mark.parametrize(
    ("failure", "kinds"),
    [
        ("unauthenticated", {ErrorKind.UPSTREAM_AUTH}),
        ("payment_required", {ErrorKind.UPSTREAM_AUTH}),
        ("forbidden", {ErrorKind.UPSTREAM_AUTH}),
        ("model_gone", {ErrorKind.MODEL_GONE}),
        ("rate_limited", {ErrorKind.RATE_LIMITED}),
        ("server_error", {ErrorKind.UNAVAILABLE}),
        ("overloaded", {ErrorKind.UNAVAILABLE}),
        ("hang", {ErrorKind.TIMEOUT}),
        ("reset_before_headers", {ErrorKind.UNAVAILABLE}),
        ("reset_mid_body", {ErrorKind.UNAVAILABLE, ErrorKind.BAD_RESPONSE}),
        ("close_mid_body", {ErrorKind.UNAVAILABLE, ErrorKind.BAD_RESPONSE}),
        ("malformed_json", {ErrorKind.BAD_RESPONSE}),
        ("truncated_json", {ErrorKind.BAD_RESPONSE}),
        ("wrong_content_type", {ErrorKind.BAD_RESPONSE}),
        ("huge_body", {ErrorKind.BAD_RESPONSE}),
        ("refusal", {ErrorKind.CONTENT_REJECTED}),
        ("empty_result", {ErrorKind.BAD_RESPONSE}),
    ],
)
async def test_a_failure_ends_as_its_kind(
    vendor: str, failure: str, kinds: set[ErrorKind], exchange: LiveExchange
) -> None:
    exchange.server.state.fail(vendor, failure)
    with pytest.raises(GatewayError) as caught:
        await exchange.make(vendor, settings=IMPATIENT if failure == "hang" else SETTINGS)
    assert caught.value.kind in kinds
    assert [attempt.outcome for attempt in exchange.attempts] == [caught.value.kind.value]
    submissions = [request for request in exchange.server.state.requests(vendor) if request.method == "POST"]
    assert len(submissions) == 1, "what may have been paid for was asked for again"


async def test_a_result_that_has_expired_is_a_bad_response(vendor: str, exchange: LiveExchange) -> None:
    await exchange.make(vendor)
    if not any(request.path.startswith("/_files/") for request in exchange.server.state.requests(vendor)):
        assert vendor not in HANDS_OVER_URLS
        return
    exchange.server.state.fail(vendor, "expired_url")
    with pytest.raises(GatewayError) as caught:
        await exchange.make(vendor)
    assert caught.value.kind is ErrorKind.BAD_RESPONSE


async def test_a_partial_refusal_leaves_the_rest(vendor: str, exchange: LiveExchange) -> None:
    call = call_for(DOUBLES[vendor])
    exchange.server.state.fail(vendor, "partial_refusal")
    if call.n == 1:
        return
    outcome = await exchange.make(vendor, call)
    assert 0 < len(outcome.result.images) < call.n
