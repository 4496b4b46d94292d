"""A target that hangs leaves the fallbacks their share of the caller's time; failures say when to come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from fake_backends import FakeBackend, directory, fails, makes, png, provider, recorded, request_context

from service.concurrency.tasks import ended, started
from service.core.calls import ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import ResponseFormat, VariationRequest
from service.gateway.backends.base import CallContext, CallReport
from service.gateway.gateway import Gateway

MakeGateway = Callable[..., Gateway]
NO_KEY = GatewayError(ErrorKind.UPSTREAM_AUTH, "No key.", may_have_run=False)


def request(*fallbacks: str) -> VariationRequest:
    return VariationRequest(image=png(), response_format=ResponseFormat.B64_JSON, fallbacks=fallbacks)


async def hangs_for_its_turn(call: ProviderCall, context: CallContext) -> CallReport:
    """As every backend does: it ends when its turn does, whatever the provider is doing."""
    async with asyncio.timeout_at(context.turn_ends):
        try:
            await asyncio.Event().wait()
        finally:
            recorded(call, context, ErrorKind.TIME_SHARE_USED.value)
    raise AssertionError("nothing sets that event")


async def gives_up(call: ProviderCall, context: CallContext) -> CallReport:
    try:
        return await hangs_for_its_turn(call, context)
    except TimeoutError:
        raise GatewayError(ErrorKind.TIME_SHARE_USED, "Too late.") from None


async def test_the_fallback_makes_the_images(gateway_over: MakeGateway) -> None:
    first, second = FakeBackend(gives_up), FakeBackend(makes())
    gateway = gateway_over(directory(provider("a", first), provider("b", second)))
    made = await gateway.create(request("b/m"), request_context(0.5))
    assert made.fallback_index == 1
    assert [attempt.outcome for attempt in made.attempts] == ["time_share_used", "success"]
    assert first.contexts[0].turn_ends < first.contexts[0].deadline < second.contexts[0].turn_ends


async def test_no_time_is_kept_for_a_fallback_without_a_key(gateway_over: MakeGateway) -> None:
    first, second = FakeBackend(makes()), FakeBackend(unavailable=NO_KEY)
    gateway = gateway_over(directory(provider("a", first), provider("b", second)))
    await gateway.create(request("b/m"), request_context())
    assert first.contexts[0].turn_ends > first.contexts[0].deadline


async def test_waiting_for_a_place_at_a_busy_provider_ends_with_the_turn(gateway_over: MakeGateway) -> None:
    begun = asyncio.Event()

    async def occupies(call: ProviderCall, context: CallContext) -> CallReport:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError("nothing sets that event")

    first, second = FakeBackend(occupies), FakeBackend(makes())
    gateway = gateway_over(directory(provider("a", first, concurrency=1), provider("b", second)))
    other = started(gateway.create(request(), request_context()))
    await begun.wait()
    made = await gateway.create(request("b/m"), request_context(0.5))
    assert made.fallback_index == 1
    assert len(first.calls) == 1
    await ended([other])


@pytest.mark.parametrize("fallbacks", [(), ("b/m",)])
async def test_a_rate_limit_without_a_hint_says_when_to_come_back(
    gateway_over: MakeGateway, fallbacks: tuple[str, ...]
) -> None:
    limited = [provider(name, FakeBackend(fails(ErrorKind.RATE_LIMITED))) for name in "ab"]
    with pytest.raises(GatewayError) as caught:
        await gateway_over(directory(*limited)).create(request(*fallbacks), request_context())
    assert (caught.value.kind, caught.value.retry_after_s) == (ErrorKind.RATE_LIMITED, 1.0)
