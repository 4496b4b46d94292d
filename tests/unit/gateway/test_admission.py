"""The limits of what a caller may use and spend, over fake backends and a real store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from fake_backends import (
    LIMITS,
    FakeBackend,
    Hangs,
    directory,
    fails,
    links,
    makes,
    nothing_to_fetch,
    png,
    provider,
    request_context,
)

from service.cache.cache import ResultCache
from service.cache.cache_store import Bounds
from service.cache.sqlite_cache import SqliteCache
from service.catalog.profile import Price, Profile
from service.concurrency.pools import ImagingPool
from service.concurrency.tasks import started
from service.core.errors import ErrorKind, GatewayError
from service.core.values import ResponseFormat, Size, Target, VariationRequest
from service.gateway.admission import Admission
from service.gateway.cache_step.fingerprints import Fingerprints
from service.gateway.cache_step.step import Caching
from service.gateway.cache_step.terms import CacheSettings
from service.gateway.delivery.finishing import Finisher
from service.gateway.directory import Alias, Provider
from service.gateway.events import Event, LimitStanding, RequestEnded
from service.gateway.gateway import Gateway, RequestContext
from service.gateway.target_runner import TargetRunner
from service.governance.budgets import Account, Budget
from service.governance.callers import ANYBODY, Caller, CallerKind
from service.governance.governor import Governor, OnStoreFailure
from service.governance.keys import CacheScope, VirtualKey, digest
from service.governance.rates import Counts, Rate
from service.governance.sqlite_store import SqliteStore
from service.governance.windows import Span, Window
from service.routing.route import RoutePolicy, WeightedTarget

_CENT = 10_000_000
_DAY = Window(Span.DAY)
PRICED = Profile(max_n=10, price=Price(per_image=0.04))


def request(**changes: object) -> VariationRequest:
    fields: dict[str, Any] = {"image": png(), "response_format": ResponseFormat.B64_JSON, **changes}
    return VariationRequest(**fields)


def holder(**grants: Any) -> Caller:
    return Caller(CallerKind.VIRTUAL_KEY, "alice", VirtualKey("alice", digest("x"), **grants))


def seen(caller: Caller, seconds: float = 30.0) -> RequestContext:
    plain = request_context(seconds, caller.direct_key)
    return RequestContext(plain.deadline, plain.base_url, plain.direct_key, caller)


@pytest.fixture
def pool() -> Iterator[ImagingPool]:
    pool = ImagingPool(2)
    yield pool
    pool.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "governance.sqlite3")
    yield store
    await store.aclose()


@pytest.fixture
async def governor(store: SqliteStore) -> AsyncIterator[Governor]:
    governor = Governor(store, OnStoreFailure.REFUSE)
    yield governor
    await governor.aclose()


@pytest.fixture
def gateway_of(pool: ImagingPool, governor: Governor, tmp_path: Path) -> Callable[..., Gateway]:
    def make(*providers: Provider, caching: Caching | None = None, **names: Any) -> Gateway:
        known = directory(*providers, **names)
        return Gateway(
            known,
            TargetRunner(known, pool, LIMITS, "Keep the subject."),
            Finisher(pool, links(tmp_path / "results"), LIMITS),
            limits=LIMITS,
            fetch=nothing_to_fetch,
            policy=RoutePolicy(),
            admission=Admission(known, governor),
            caching=caching,
        )

    return make


@pytest.fixture
async def caching(pool: ImagingPool, tmp_path: Path) -> AsyncIterator[Caching]:
    cache = ResultCache(await SqliteCache.open(tmp_path / "cache.sqlite3", Bounds(10**8, 1000)))
    settings = CacheSettings(threshold=0.765, ttl_s=3600.0, default_prompt="Keep the subject.")
    caching = Caching(cache, Fingerprints(pool, LIMITS), settings)
    yield caching
    await caching.settled()
    await cache.aclose()


async def refusal(gateway: Gateway, asked: VariationRequest, around: RequestContext) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await gateway.create(asked, around)
    return caught.value


async def spent(store: SqliteStore) -> int:
    return sum((await store.spent(Account("key:alice", Budget(0, _DAY)).name, 0)).values())


class TestWhatAKeyMayUse:
    async def test_a_primary_it_may_not_use_is_forbidden(self, gateway_of: Callable[..., Gateway]) -> None:
        backend = FakeBackend()
        error = await refusal(gateway_of(provider("a", backend)), request(model="a/m"), seen(holder(providers=("b",))))
        assert (error.kind, error.code, error.param) == (ErrorKind.PERMISSION_DENIED, "model_not_allowed", "model")
        assert not backend.calls

    async def test_every_forbidden_fallback_is_named(self, gateway_of: Callable[..., Gateway]) -> None:
        gateway = gateway_of(*(provider(name, FakeBackend()) for name in "abcd"))
        asked = request(model="a/m", fallbacks=("b/m", "c/m", "d/m"))
        error = await refusal(gateway, asked, seen(holder(providers=("a", "c"))))
        assert (error.code, error.param) == ("fallback_not_allowed", "fallbacks")
        assert "b/m, d/m" in error.message
        assert "c/m" not in error.message

    async def test_of_an_alias_it_gets_what_it_may_use(self, gateway_of: Callable[..., Gateway]) -> None:
        alias = Alias((WeightedTarget(Target("a", "m")), WeightedTarget(Target("b", "m"))))
        gateway = gateway_of(provider("a", FakeBackend()), provider("b", FakeBackend()), aliases={"best": alias})
        made = await gateway.create(request(model="best"), seen(holder(providers=("b",))))
        assert str(made.target) == "b/m"

    async def test_a_models_name_leads_to_a_provider_it_may_use(self, gateway_of: Callable[..., Gateway]) -> None:
        gateway = gateway_of(provider("a", FakeBackend()), provider("b", FakeBackend()))
        assert str((await gateway.create(request(model="m"), seen(ANYBODY))).target) == "a/m"
        assert str((await gateway.create(request(model="m"), seen(holder(providers=("b",))))).target) == "b/m"

    async def test_a_name_that_means_nothing_stays_unknown(self, gateway_of: Callable[..., Gateway]) -> None:
        error = await refusal(gateway_of(provider("a", FakeBackend())), request(model="x/y"), seen(holder()))
        assert error.kind is ErrorKind.NOT_FOUND

    def test_weights_balance_the_providers_of_a_model(self) -> None:
        known = directory(*(provider(name, FakeBackend()) for name in "abc"), draw=random.Random(1).random)
        key = VirtualKey("alice", digest("x"), weights=MappingProxyType({"a": 3.0, "b": 1.0}))
        routes = [[str(target) for target in known.route("m", (), key)] for _ in range(2000)]
        share = sum(route[0] == "a/m" for route in routes) / len(routes)
        assert share == pytest.approx(0.75, abs=0.05)
        # One without a weight comes once the others have failed.
        assert {route[-1] for route in routes} == {"c/m"}
        assert [str(target) for target in known.route("b/m", (), key)] == ["b/m"]

    async def test_only_the_provider_keys_it_may_use_are_used(self, gateway_of: Callable[..., Gateway]) -> None:
        backend = FakeBackend()
        caller = holder(provider_keys=MappingProxyType({"a": ("second",)}))
        await gateway_of(provider("a", backend)).create(request(model="a/m"), seen(caller))
        await gateway_of(provider("a", backend)).create(request(model="a/m"), seen(holder()))
        assert [context.key_names for context in backend.contexts] == [{"second"}, frozenset()]


class TestSomebodyWithAProvidersKeyOnly:
    CALLER = Caller(CallerKind.DIRECT, direct_key="sk-theirs", confined=True)

    @staticmethod
    def vendor(name: str, backend: FakeBackend) -> Provider:
        return Provider(name, backend, {"m": Profile(max_n=10)}, checks_keys=True)

    async def test_uses_that_provider_with_that_key(self, gateway_of: Callable[..., Gateway]) -> None:
        backend = FakeBackend()
        await gateway_of(self.vendor("a", backend)).create(request(model="a/m"), seen(self.CALLER))
        assert backend.contexts[0].direct_key == "sk-theirs"

    async def test_gets_no_fallback_that_others_would_pay_for(self, gateway_of: Callable[..., Gateway]) -> None:
        first, second = FakeBackend(fails(ErrorKind.UPSTREAM_AUTH)), FakeBackend()
        gateway = gateway_of(self.vendor("a", first), self.vendor("b", second))
        error = await refusal(gateway, request(model="a/m", fallbacks=("b/m",)), seen(self.CALLER))
        assert (error.kind, error.code) == (ErrorKind.PERMISSION_DENIED, "fallback_not_allowed")
        assert not first.calls + second.calls

    @pytest.mark.parametrize("model", ["", "best", "own/m"])
    async def test_opens_nothing_that_asks_for_no_key(self, gateway_of: Callable[..., Gateway], model: str) -> None:
        backend, own = FakeBackend(), FakeBackend()
        alias = Alias((WeightedTarget(Target("a", "m")),))
        gateway = gateway_of(
            self.vendor("a", backend), provider("own", own), aliases={"best": alias}, default_route="best"
        )
        error = await refusal(gateway, request(model=model), seen(self.CALLER))
        assert error.kind is ErrorKind.UNAUTHENTICATED
        assert not backend.calls + own.calls


class TestMoney:
    CALLER = holder(budgets=(Budget(1, _DAY),))

    async def test_is_settled_at_what_it_cost(self, gateway_of: Callable[..., Gateway], store: SqliteStore) -> None:
        backend = FakeBackend(makes(png(), cost_usd=0.01))
        await gateway_of(provider("a", backend, PRICED)).create(request(), seen(self.CALLER))
        assert await spent(store) == _CENT

    async def test_is_reserved_while_the_work_is_done(
        self, gateway_of: Callable[..., Gateway], store: SqliteStore
    ) -> None:
        hangs = Hangs()
        gateway = gateway_of(provider("a", FakeBackend(hangs), PRICED))
        task = started(gateway.create(request(n=3), seen(self.CALLER)))
        await hangs.begun.wait()
        assert await spent(store) == 12 * _CENT
        task.cancel()
        await asyncio.wait([task])

    async def test_comes_back_from_a_failure(self, gateway_of: Callable[..., Gateway], store: SqliteStore) -> None:
        backend = FakeBackend(fails(ErrorKind.UNAVAILABLE))
        error = await refusal(gateway_of(provider("a", backend, PRICED)), request(), seen(self.CALLER))
        assert error.kind is ErrorKind.UNAVAILABLE
        assert await spent(store) == 0

    @pytest.mark.parametrize(("profile", "cents"), [(PRICED, 4), (Profile(price=Price(), free=True), 0)])
    async def test_of_work_cut_short_may_be_billed(
        self, gateway_of: Callable[..., Gateway], store: SqliteStore, profile: Profile, cents: int
    ) -> None:
        gateway = gateway_of(provider("a", FakeBackend(Hangs()), profile))
        error = await refusal(gateway, request(), seen(self.CALLER, seconds=0.2))
        assert error.kind is ErrorKind.DEADLINE_EXCEEDED
        assert await spent(store) == cents * _CENT

    async def test_of_the_images_that_nobody_waited_for_may_be_billed_too(
        self, gateway_of: Callable[..., Gateway], store: SqliteStore
    ) -> None:
        one_at_a_time = Profile(max_n=1, price=Price(per_image=0.04))
        backend = FakeBackend(makes(png()), Hangs())
        made = await gateway_of(provider("a", backend, one_at_a_time)).create(
            request(n=2), seen(self.CALLER, seconds=0.3)
        )
        assert len(made.images) == 1
        assert await spent(store) == 8 * _CENT

    async def test_that_is_used_up_stops_the_request_before_any_provider(
        self, gateway_of: Callable[..., Gateway]
    ) -> None:
        backend = FakeBackend()
        caller = holder(budgets=(Budget(0.03, _DAY),))
        error = await refusal(gateway_of(provider("a", backend, PRICED)), request(), seen(caller))
        assert error.kind is ErrorKind.BUDGET_EXCEEDED
        assert not backend.calls

    async def test_is_estimated_by_the_dearest_target(
        self, gateway_of: Callable[..., Gateway], store: SqliteStore
    ) -> None:
        dear = Profile(max_n=10, price=Price(per_image=0.09))
        gateway = gateway_of(provider("a", FakeBackend(), PRICED), provider("b", FakeBackend(), dear))
        caller = holder(budgets=(Budget(0.08, _DAY),))
        error = await refusal(gateway, request(model="a/m", fallbacks=("b/m",)), seen(caller))
        assert error.kind is ErrorKind.BUDGET_EXCEEDED
        await gateway.create(request(model="a/m"), seen(caller))

    async def test_cannot_be_kept_in_budget_where_the_price_is_unknown(
        self, gateway_of: Callable[..., Gateway]
    ) -> None:
        gateway = gateway_of(provider("a", FakeBackend(), Profile()))
        error = await refusal(gateway, request(), seen(self.CALLER))
        assert (error.kind, error.code) == (ErrorKind.PERMISSION_DENIED, "price_unknown")
        await gateway.create(request(), seen(holder()))

    async def test_skips_a_target_without_a_price_where_another_has_one(
        self, gateway_of: Callable[..., Gateway]
    ) -> None:
        unpriced = FakeBackend()
        gateway = gateway_of(provider("a", unpriced, Profile()), provider("b", FakeBackend(), PRICED))
        asked = request(model="a/m", fallbacks=("b/m",))
        made = await gateway.create(asked, seen(self.CALLER))
        assert (made.target.provider, unpriced.calls) == ("b", [])
        assert made.warnings == ("a/m was not asked: this key has a budget, and its price is not known.",)
        # Without a budget there is nothing to keep.
        assert (await gateway.create(asked, seen(holder()))).target.provider == "a"

    async def test_of_two_hundred_at_once_stays_within_the_budget(
        self, gateway_of: Callable[..., Gateway], store: SqliteStore
    ) -> None:
        gateway = gateway_of(provider("a", FakeBackend(makes(png(8, 8), cost_usd=0.02)), PRICED))
        caller = holder(budgets=(Budget(2, _DAY),))
        asked = request(size=Size(256, 256))
        answers = await asyncio.gather(
            *(gateway.create(asked, seen(caller, seconds=60)) for _ in range(200)), return_exceptions=True
        )
        refused = [answer.kind for answer in answers if isinstance(answer, GatewayError)]
        assert set(refused) <= {ErrorKind.BUDGET_EXCEEDED}
        assert await spent(store) == 2 * (200 - len(refused)) * _CENT <= 200 * _CENT


class TestCached:
    """A result that costs nothing needs no room in a budget, and counts as a request all the same."""

    async def test_a_hit_is_served_when_the_budget_has_no_room_for_another_call(
        self, gateway_of: Callable[..., Gateway], caching: Caching, store: SqliteStore
    ) -> None:
        backend = FakeBackend(makes(png(), cost_usd=0.04))
        gateway = gateway_of(provider("a", backend, PRICED), caching=caching)
        caller = holder(budgets=(Budget(0.05, _DAY),))
        await gateway.create(request(), seen(caller))
        await caching.settled()

        found = await gateway.create(request(), seen(caller))
        error = await refusal(gateway, request(seed=1), seen(caller))

        assert found.cost_usd == 0.0
        assert error.kind is ErrorKind.BUDGET_EXCEEDED
        assert len(backend.calls) == 1
        assert await spent(store) == 4 * _CENT

    async def test_a_budget_without_room_is_told_before_the_cache_is_said_to_have_missed(
        self, gateway_of: Callable[..., Gateway], caching: Caching
    ) -> None:
        events: list[Event] = []
        gateway = gateway_of(provider("a", FakeBackend(), PRICED), caching=caching)
        with pytest.raises(GatewayError):
            await gateway.create(request(), seen(holder(budgets=(Budget(0.01, _DAY),))), events.append)
        assert [type(event) for event in events] == [RequestEnded]

    async def test_one_who_cannot_pay_does_not_spoil_it_for_others_who_wait(
        self, gateway_of: Callable[..., Gateway], caching: Caching
    ) -> None:
        def sharing(name: str, usd: float) -> Caller:
            key = VirtualKey(name, digest(name), budgets=(Budget(usd, _DAY),), cache_scope=CacheScope.SHARED)
            return Caller(CallerKind.VIRTUAL_KEY, name, key)

        backend = FakeBackend(makes(png(), cost_usd=0.04))
        gateway = gateway_of(provider("a", backend, PRICED), caching=caching)
        answers = await asyncio.gather(
            *(gateway.create(request(), seen(sharing(name, usd))) for name, usd in (("poor", 0.01), ("rich", 1))),
            return_exceptions=True,
        )
        refused = [each.kind for each in answers if isinstance(each, GatewayError)]
        assert refused in ([ErrorKind.BUDGET_EXCEEDED], [])
        assert not isinstance(answers[1], BaseException)
        assert len(backend.calls) == 1

    async def test_a_hit_counts_against_the_rate_limit(
        self, gateway_of: Callable[..., Gateway], caching: Caching
    ) -> None:
        gateway = gateway_of(provider("a", FakeBackend()), caching=caching)
        caller = holder(rates=(Rate(Counts.REQUESTS, 2, 60),))
        for _ in range(2):
            await gateway.create(request(), seen(caller))
        assert (await refusal(gateway, request(), seen(caller))).kind is ErrorKind.RATE_LIMITED


class TestRates:
    async def test_are_counted_and_told_before_the_answer(self, gateway_of: Callable[..., Gateway]) -> None:
        backend = FakeBackend()
        events: list[Event] = []
        gateway = gateway_of(provider("a", backend))
        caller = holder(rates=(Rate(Counts.REQUESTS, 1, 60),))
        await gateway.create(request(), seen(caller), events.append)
        with pytest.raises(GatewayError) as caught:
            await gateway.create(request(), seen(caller), events.append)
        assert caught.value.kind is ErrorKind.RATE_LIMITED
        told = [event.standing.remaining for event in events if isinstance(event, LimitStanding)]
        assert told == [0, 0]
        assert len(backend.calls) == 1

    async def test_of_images_count_images(self, gateway_of: Callable[..., Gateway]) -> None:
        gateway = gateway_of(provider("a", FakeBackend()))
        caller = holder(rates=(Rate(Counts.IMAGES, 5, 60),))
        await gateway.create(request(n=3), seen(caller))
        error = await refusal(gateway, request(n=3), seen(caller))
        assert error.kind is ErrorKind.RATE_LIMITED
        await gateway.create(request(n=2), seen(caller))
