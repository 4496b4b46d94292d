"""A target at rest: asked once for each try of it, however many calls the try is split into."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from fake_backends import FakeBackend, Hangs, directory, fails, makes, png, provider, surroundings

from service.core.errors import ErrorKind, GatewayError
from service.core.values import ResponseFormat, Target, VariationRequest
from service.gateway.directory import Directory
from service.gateway.gateway import Gateway
from service.gateway.remote_backend import RemoteBackend
from service.providers.base import CallResult, Endpoint, Profile, ProviderCall
from service.providers.registry import TRANSLATORS
from service.routing.breaker import BreakerPolicy, Breakers, CircuitState
from service.transport.credentials import Credentials
from service.transport.exchange import Outcome, Upstream

POLICY = BreakerPolicy(failures=2, open_s=0.05)
DOWN = GatewayError(ErrorKind.UNAVAILABLE, "It is down.", upstream_status=500)
TARGET = Target("a", "m")
MakeGateway = Callable[..., Gateway]


class Executor:
    """Stands for the transport: fails while it is told to."""

    def __init__(self) -> None:
        self.failure: GatewayError | None = None
        self.calls = 0

    async def run(self, upstream: object, call: ProviderCall, profile: object, *, emit: object, **_: object) -> Outcome:
        self.calls += 1
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        result: CallResult = (await makes(*[png()] * call.n)(call, _Context(emit))).result  # type: ignore[arg-type]
        return Outcome(result)


class _Context:
    def __init__(self, emit: object) -> None:
        self.emit = emit

    def record(self, attempt: object) -> None:
        pass


@pytest.fixture
def breakers() -> Breakers:
    return Breakers(POLICY)


@pytest.fixture
def executor() -> Executor:
    return Executor()


@pytest.fixture
def names(breakers: Breakers, executor: Executor) -> Directory:
    upstream = Upstream(TRANSLATORS["openai_edits"], Endpoint("a", "http://a.test"), Credentials([]))
    backend = RemoteBackend(upstream, executor, breakers)  # type: ignore[arg-type]  # what it needs of one
    return directory(provider("a", backend, Profile(max_n=1)))  # type: ignore[arg-type]


def request(n: int = 1, **changes: object) -> VariationRequest:
    return VariationRequest(image=png(), n=n, response_format=ResponseFormat.B64_JSON, **changes)  # type: ignore[arg-type]


async def fail(gateway: Gateway, n: int = 1) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await gateway.create(request(n), surroundings())
    return caught.value


async def test_every_call_of_the_try_that_probes_is_let_through(
    gateway_over: MakeGateway, names: Directory, executor: Executor
) -> None:
    gateway = gateway_over(names)
    executor.failure = DOWN
    for _ in range(2):
        await fail(gateway)
    assert (await fail(gateway)).code == "circuit_open"
    assert executor.calls == 2
    await asyncio.sleep(POLICY.open_s)
    executor.failure = None
    made = await gateway.create(request(5), surroundings())
    assert (len(made.images), made.warnings) == (5, ())


async def test_a_try_of_many_calls_that_all_fail_is_one_failure(
    gateway_over: MakeGateway, names: Directory, executor: Executor, breakers: Breakers
) -> None:
    executor.failure = DOWN
    await fail(gateway_over(names), n=10)
    now = asyncio.get_running_loop().time()
    assert breakers.states(now) == {TARGET: CircuitState.CLOSED}


async def test_a_request_that_comes_to_no_call_leaves_the_probe_to_the_next(
    gateway_over: MakeGateway, names: Directory, executor: Executor
) -> None:
    gateway = gateway_over(names)
    executor.failure = DOWN
    for _ in range(2):
        await fail(gateway)
    await asyncio.sleep(POLICY.open_s)
    executor.failure = None
    broken = png()[:-40]
    with pytest.raises(GatewayError) as caught:
        await gateway.create(VariationRequest(image=broken), surroundings())
    assert caught.value.kind is ErrorKind.INVALID_REQUEST
    assert len((await gateway.create(request(), surroundings())).images) == 1


@pytest.mark.parametrize(
    ("behaviours", "n", "reported"),
    [
        ([makes()], 1, None),
        ([fails(ErrorKind.UNAVAILABLE)], 1, ErrorKind.UNAVAILABLE),
        ([fails(ErrorKind.UNAVAILABLE), makes()], 2, None),
        ([fails(ErrorKind.RATE_LIMITED), fails(ErrorKind.CONTENT_REJECTED)], 2, ErrorKind.CONTENT_REJECTED),
    ],
)
async def test_the_end_of_a_try_is_reported_once(
    gateway_over: MakeGateway, behaviours: list[object], n: int, reported: ErrorKind | None
) -> None:
    backend = FakeBackend(*behaviours)  # type: ignore[arg-type]
    gateway = gateway_over(directory(provider("a", backend, Profile(max_n=1))))
    with contextlib.suppress(GatewayError):
        await gateway.create(request(n), surroundings())
    assert [failure and failure.kind for failure in backend.tries] == [reported]


async def test_a_cancelled_try_says_nothing_of_the_target(gateway_over: MakeGateway) -> None:
    hangs = Hangs()
    backend = FakeBackend(hangs)
    task = asyncio.create_task(gateway_over(directory(provider("a", backend))).create(request(), surroundings()))
    await hangs.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [failure and failure.kind for failure in backend.tries] == [ErrorKind.CANCELLED]


async def test_content_refused_in_one_call_is_not_shown_to_the_next_target(gateway_over: MakeGateway) -> None:
    refusing = FakeBackend(fails(ErrorKind.UNAVAILABLE), fails(ErrorKind.CONTENT_REJECTED))
    other = FakeBackend()
    names = directory(provider("a", refusing, Profile(max_n=1)), provider("b", other))
    with pytest.raises(GatewayError) as caught:
        await gateway_over(names).create(request(2, fallbacks=("b/m",)), surroundings())
    assert caught.value.kind is ErrorKind.CONTENT_REJECTED
    assert not other.calls
