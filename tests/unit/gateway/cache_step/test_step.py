"""The cache around the work on a request: what it spares, what it tells, and who shares what with whom."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fake_backends import (
    BASE_URL,
    LIMITS,
    STANDARD_POLICY,
    FakeBackend,
    Hangs,
    directory,
    fails,
    links,
    makes,
    nothing_to_fetch,
    pixel,
    png,
    provider,
)
from PIL import Image, ImageFilter

from service.cache.cache import Lookup, ResultCache
from service.cache.cache_store import Bounds
from service.cache.sqlite_cache import SqliteCache
from service.catalog.profile import Profile
from service.concurrency.pools import ImagingPool
from service.concurrency.tasks import ended, started
from service.core.calls import ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import ImageFormat, ResponseFormat, Size, Target, Usage, VariationRequest
from service.gateway.backends.base import CallContext, CallReport
from service.gateway.cache_step.fingerprints import Fingerprints
from service.gateway.cache_step.step import Caching
from service.gateway.cache_step.terms import CacheDirectives, CacheSettings, scope_of
from service.gateway.delivery.finishing import Finisher
from service.gateway.directory import Alias, Directory
from service.gateway.events import CacheConsulted, Event, ImageCompleted, RequestEnded
from service.gateway.gateway import Gateway, RequestContext
from service.gateway.outcome import Outcome
from service.gateway.record import FIRST_FRAME, NOT_STORED
from service.gateway.target_runner import TargetRunner
from service.governance.callers import ANYBODY, Caller, CallerKind
from service.governance.keys import CacheScope, VirtualKey, digest
from service.routing.ordering import AliasPolicy
from service.routing.route import WeightedTarget

RED, GREEN = png(colour=(255, 0, 0)), png(colour=(0, 255, 0))
SETTINGS = CacheSettings(threshold=0.765, ttl_s=3600.0, default_prompt="Keep the subject.")


def landscape(seed: int = 0) -> Image.Image:
    """A picture with a look of its own: soft shapes in a few colours."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return Image.fromarray(noise).resize((240, 180), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def saved(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


SOURCE = saved(landscape())


def request(**changes: Any) -> VariationRequest:
    fields: dict[str, Any] = {"image": SOURCE, "response_format": ResponseFormat.B64_JSON, **changes}
    return VariationRequest(**fields)


def holder(name: str, scope: CacheScope = CacheScope.KEY, team: str = "") -> Caller:
    key = VirtualKey(name=name, digest=digest(f"sk-bf-{name}"), team=team, cache_scope=scope)
    return Caller(CallerKind.VIRTUAL_KEY, name, key)


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class House:
    """A gateway with a cache over a fake provider, and what the test wants to know of it."""

    def __init__(self, pool: ImagingPool, place: Path, cache: ResultCache, clock: Clock) -> None:
        self.pool, self.place, self.cache, self.clock = pool, place, cache, clock
        self.links = links(place / "results")
        self.events: list[Event] = []
        self.caching = self.make_caching(SETTINGS)

    def files(self) -> list[str]:
        """The names of the results that are stored to be linked to."""
        return [file.name for file in (self.place / "results").iterdir()]

    def break_results(self) -> None:
        """Puts a file where the directory of results was."""
        (self.place / "results").rmdir()
        (self.place / "results").write_text("in the way")

    def mend_results(self) -> None:
        (self.place / "results").unlink()
        (self.place / "results").mkdir()

    def make_caching(self, settings: CacheSettings) -> Caching:
        return Caching(self.cache, Fingerprints(self.pool, LIMITS), settings, self.clock)

    def gateway(self, names: Directory | FakeBackend) -> Gateway:
        names = directory(provider("a", names)) if isinstance(names, FakeBackend) else names
        return Gateway(
            names,
            TargetRunner(names, self.pool, LIMITS, "Keep the subject."),
            Finisher(self.pool, self.links, LIMITS),
            limits=LIMITS,
            fetch=nothing_to_fetch,
            policy=STANDARD_POLICY,
            caching=self.caching,
        )

    async def ask(
        self,
        gateway: Gateway,
        asked: VariationRequest | None = None,
        *,
        caller: Caller = ANYBODY,
        seconds: float = 30.0,
        **wishes: Any,
    ) -> Outcome:
        deadline = asyncio.get_running_loop().time() + seconds
        around = RequestContext(deadline, BASE_URL, caller.direct_key, caller, cache=CacheDirectives(**wishes))
        outcome = await gateway.create(asked or request(), around, self.events.append)
        await self.caching.settled()
        return outcome


@pytest.fixture
async def house(pool: ImagingPool, tmp_path: Path) -> AsyncIterator[House]:
    clock = Clock()
    cache = ResultCache(await SqliteCache.open(tmp_path / "cache.sqlite3", Bounds(10**8, 1000)), clock)
    yield House(pool, tmp_path, cache, clock)
    await cache.aclose()


class TestHits:
    async def test_the_second_time_nobody_is_asked(self, house: House) -> None:
        backend = FakeBackend(makes(png(100, 80, (1, 2, 3)), cost_usd=0.04, usage=Usage(total_tokens=9)))
        gateway = house.gateway(backend)
        made, found = await house.ask(gateway), await house.ask(gateway)

        assert len(backend.calls) == 1
        assert found.images == made.images
        assert (found.cost_usd, found.usage, found.attempts) == (0.0, None, ())
        assert (found.target, found.fallback_index) == (Target("a", "m"), 0)
        assert found.id != made.id

    async def test_that_only_the_first_frame_was_varied_is_told_of_the_animation_alone(self, house: House) -> None:
        still, moving = io.BytesIO(), io.BytesIO()
        first, second = (Image.new("RGB", (40, 30), colour) for colour in ((10, 200, 30), (200, 10, 30)))
        first.save(still, "GIF")
        first.save(moving, "GIF", save_all=True, append_images=[second], duration=50)
        gateway = house.gateway(FakeBackend())

        animated = await house.ask(gateway, request(image=moving.getvalue()))
        found = await house.ask(gateway, request(image=still.getvalue()))

        assert FIRST_FRAME in animated.warnings
        assert found.cache is not None
        assert found.cache.hit
        assert FIRST_FRAME not in found.warnings

    async def test_both_answers_tell_of_the_cache(self, house: House) -> None:
        gateway = house.gateway(FakeBackend())
        made, found = await house.ask(gateway), await house.ask(gateway)

        assert made.cache is not None
        assert found.cache is not None
        assert (made.cache.hit, made.cache.hit_type, made.cache.similarity, made.cache.used) == (False, "", None, None)
        assert (found.cache.hit, found.cache.hit_type, found.cache.similarity) == (True, "direct", 1.0)
        assert found.cache.requested == found.cache.used == Target("a", "m")
        assert found.cache.id == made.cache.id != ""
        assert found.cache.threshold == made.cache.threshold == 0.765

    async def test_the_streams_are_told_before_the_images(self, house: House) -> None:
        gateway = house.gateway(FakeBackend())
        await house.ask(gateway)
        assert house.events[0] == CacheConsulted()
        house.events.clear()
        await house.ask(gateway)
        assert [type(event) for event in house.events] == [CacheConsulted, ImageCompleted, RequestEnded]
        assert house.events[0] == CacheConsulted(Target("a", "m"), 0, "direct")

    @pytest.mark.parametrize(
        "again",
        [
            saved(landscape(), compress_level=0),
            saved(landscape(), "WEBP", lossless=True),
            saved(landscape(), exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00"),
        ],
        ids=["another-compression", "another-format", "other-metadata"],
    )
    async def test_the_same_pixels_in_another_file_are_a_direct_hit(self, house: House, again: bytes) -> None:
        gateway = house.gateway(FakeBackend())
        await house.ask(gateway)
        assert again != SOURCE
        found = await house.ask(gateway, request(image=again))
        assert found.cache is not None
        assert found.cache.hit_type == "direct"

    async def test_nearly_the_same_picture_is_a_semantic_hit(self, house: House) -> None:
        gateway = house.gateway(FakeBackend())
        await house.ask(gateway)
        found = await house.ask(gateway, request(image=saved(landscape().resize((120, 90)), "JPEG", quality=80)))
        assert found.cache is not None
        assert (found.cache.hit, found.cache.hit_type) == (True, "semantic")
        assert found.cache.similarity is not None
        assert 0.9 < found.cache.similarity <= 1.0

    async def test_another_picture_is_a_miss(self, house: House) -> None:
        backend = FakeBackend()
        gateway = house.gateway(backend)
        await house.ask(gateway)
        other = await house.ask(gateway, request(image=saved(landscape(1))))
        assert other.cache is not None
        assert not other.cache.hit
        assert len(backend.calls) == 2

    async def test_links_are_fresh(self, house: House) -> None:
        gateway = house.gateway(FakeBackend(makes(RED)))
        asked = request(response_format=ResponseFormat.URL)
        made, found = await house.ask(gateway, asked), await house.ask(gateway, asked)
        first, second = (httpx.URL(outcome.images[0].url) for outcome in (made, found))
        assert first.path != second.path
        (house.place / "results" / first.path.rpartition("/")[2]).unlink()
        opened = await house.links.open(
            second.path.rpartition("/")[2], second.params["expires"], second.params["signature"]
        )
        assert pixel(b"".join([chunk async for chunk in opened.chunks])) == (255, 0, 0)

    async def test_many_hits_are_links_to_one_file(self, house: House) -> None:
        gateway = house.gateway(FakeBackend(makes(RED)))
        asked = request(response_format=ResponseFormat.URL)
        for _ in range(20):
            await house.ask(gateway, asked)
        assert len(house.files()) == 2

    async def test_links_and_inline_images_share_an_entry(self, house: House) -> None:
        backend = FakeBackend(makes(RED))
        gateway = house.gateway(backend)
        await house.ask(gateway, request(response_format=ResponseFormat.URL))
        inline = await house.ask(gateway, request(response_format=ResponseFormat.B64_JSON))
        assert pixel(inline.images[0].data) == (255, 0, 0)
        assert len(backend.calls) == 1

    async def test_who_made_it_is_told_where_that_was_a_fallback(self, house: House) -> None:
        names = directory(provider("a", FakeBackend(fails(ErrorKind.UNAVAILABLE))), provider("b", FakeBackend()))
        gateway = house.gateway(names)
        asked = request(fallbacks=("b/m",))
        await house.ask(gateway, asked)
        found = await house.ask(gateway, asked)
        assert found.cache is not None
        assert (found.cache.requested, found.cache.used) == (Target("a", "m"), Target("b", "m"))
        assert (found.target, found.fallback_index) == (Target("b", "m"), 1)

    async def test_warnings_about_the_result_stay_and_those_about_the_request_are_its_own(self, house: House) -> None:
        gateway = house.gateway(directory(provider("a", FakeBackend(), Profile(seed=False))))
        made = await house.ask(gateway, request(seed=3, warnings=("The field x is unknown.",)))
        found = await house.ask(gateway, request(seed=3, raw=True))
        (about_the_seed,) = (warning for warning in made.warnings if "seed" in warning)
        assert about_the_seed in found.warnings
        assert "The field x is unknown." not in found.warnings
        assert any("no exchange" in warning for warning in found.warnings)

    async def test_an_alias_by_weight_is_one_request_whatever_was_drawn(self, house: House) -> None:
        backends = FakeBackend(), FakeBackend()
        draws = iter([0.1, 0.9] * 4)
        targets = (WeightedTarget(Target("a", "m"), 1.0), WeightedTarget(Target("b", "m"), 1.0))
        names = directory(
            provider("a", backends[0]),
            provider("b", backends[1]),
            aliases={"either": Alias(targets, policy=AliasPolicy.WEIGHTED)},
            draw=lambda: next(draws),
        )
        gateway = house.gateway(names)
        for _ in range(4):
            await house.ask(gateway, request(model="either"))
        assert len(backends[0].calls) + len(backends[1].calls) == 1


class TestWhatMatters:
    @pytest.mark.parametrize(
        "change",
        [
            {"n": 2},
            {"size": Size(256, 256)},
            {"output_format": ImageFormat.WEBP},
            {"prompt": "at night"},
            {"strength": 0.5},
            {"seed": 1},
            {"quality": "high"},
            {"background": "opaque"},
            {"provider_options": {"a": {"x": 1}}},
            {"model": "b/m"},
            {"fallbacks": ("b/m",)},
        ],
        ids=lambda change: next(iter(change)),
    )
    async def test_every_parameter_does(self, house: House, change: dict[str, Any]) -> None:
        backend = FakeBackend()
        gateway = house.gateway(directory(provider("a", backend), provider("b", backend)))
        await house.ask(gateway)
        await house.ask(gateway, request(**change))
        assert len(backend.calls) == 2

    @pytest.mark.parametrize(
        "change", [{"user": "somebody"}, {"raw": True}, {"prompt": "Keep the subject."}], ids=["user", "raw", "default"]
    )
    async def test_what_changes_no_picture_does_not(self, house: House, change: dict[str, Any]) -> None:
        backend = FakeBackend()
        gateway = house.gateway(backend)
        await house.ask(gateway)
        await house.ask(gateway, request(**change))
        assert len(backend.calls) == 1


class TestWhatIsKept:
    async def test_a_partial_result_is_not(self, house: House) -> None:
        backend = FakeBackend(fails(ErrorKind.UNAVAILABLE, after=[RED]), makes(RED, GREEN))
        gateway = house.gateway(backend)
        partial = await house.ask(gateway, request(n=2))
        assert len(partial.images) == 1
        whole = await house.ask(gateway, request(n=2))
        assert len(whole.images) == 2
        assert whole.cache is not None
        assert not whole.cache.hit

    async def test_a_failure_is_not(self, house: House) -> None:
        backend = FakeBackend(fails(ErrorKind.UNAVAILABLE), makes(RED))
        gateway = house.gateway(backend)
        with pytest.raises(GatewayError):
            await house.ask(gateway)
        assert len((await house.ask(gateway)).images) == 1

    async def test_a_damaged_source_is_told_before_anybody_is_asked(self, house: House) -> None:
        backend = FakeBackend()
        with pytest.raises(GatewayError) as caught:
            await house.ask(house.gateway(backend), request(image=SOURCE[: len(SOURCE) // 2]))
        assert caught.value.code == "invalid_image"
        assert backend.calls == []

    async def test_results_expire(self, house: House) -> None:
        backend = FakeBackend()
        gateway = house.gateway(backend)
        await house.ask(gateway)
        house.clock.now += 3599
        await house.ask(gateway)
        assert len(backend.calls) == 1
        house.clock.now += 1
        await house.ask(gateway)
        assert len(backend.calls) == 2

    async def test_they_are_kept_from_when_they_are_made(self, house: House) -> None:
        waits = Gate(makes(RED))
        backend = FakeBackend(waits)
        gateway = house.gateway(backend)
        first = started(house.ask(gateway, ttl_s=10.0))
        await waits.begun.wait()
        house.clock.now += 60
        waits.go.set()
        await first
        house.clock.now += 9
        await house.ask(gateway)
        assert len(backend.calls) == 1

    async def test_a_request_may_shorten_that_but_not_lengthen_it(self, house: House) -> None:
        backend = FakeBackend()
        gateway = house.gateway(backend)
        for seed, ttl_s, lives_s in ((1, 10.0, 10), (2, 99_999.0, 3600)):
            backend.calls.clear()
            await house.ask(gateway, request(seed=seed), ttl_s=ttl_s)
            house.clock.now += lives_s - 1
            await house.ask(gateway, request(seed=seed))
            assert len(backend.calls) == 1
            house.clock.now += 1
            await house.ask(gateway, request(seed=seed))
            assert len(backend.calls) == 2

    async def test_wanting_a_fresh_result_goes_round_the_cache_both_ways(self, house: House) -> None:
        backend = FakeBackend(makes(RED), makes(GREEN))
        gateway = house.gateway(backend)
        await house.ask(gateway)
        fresh = await house.ask(gateway, no_store=True)
        assert pixel(fresh.images[0].data) == (0, 255, 0)
        assert fresh.cache is None
        assert pixel((await house.ask(gateway)).images[0].data) == (255, 0, 0)

    async def test_lookups_of_one_kind_only(self, house: House) -> None:
        backend = FakeBackend()
        gateway = house.gateway(backend)
        await house.ask(gateway)
        near = request(image=saved(landscape(), "JPEG", quality=85))
        assert (await house.ask(gateway, lookup=Lookup.SEMANTIC)).cache.hit_type == "semantic"
        assert not (await house.ask(gateway, near, lookup=Lookup.DIRECT)).cache.hit

    async def test_a_strict_threshold_misses_what_the_usual_one_finds(self, house: House) -> None:
        gateway = house.gateway(FakeBackend())
        await house.ask(gateway)
        near = request(image=saved(landscape().crop((2, 2, 238, 178))))
        found = await house.ask(gateway, near)
        strict = await house.ask(gateway, replace(near, user="again"), threshold=1.0, lookup=Lookup.SEMANTIC)
        assert found.cache is not None
        assert strict.cache is not None
        assert found.cache.hit
        assert not strict.cache.hit
        assert strict.cache.threshold == 1.0

    async def test_the_threshold_can_be_raised_only(self, house: House) -> None:
        gateway = house.gateway(FakeBackend())
        await house.ask(gateway)
        lowered = await house.ask(gateway, request(image=saved(landscape(1))), threshold=0.5)
        assert lowered.cache is not None
        assert (lowered.cache.hit, lowered.cache.threshold) == (False, SETTINGS.threshold)
        assert any("can be raised only: 0.765" in warning for warning in lowered.warnings)


class TestTenants:
    async def test_keys_see_nothing_of_each_other(self, house: House) -> None:
        backend = FakeBackend()
        gateway = house.gateway(backend)
        theirs = await house.ask(gateway, caller=holder("alice"))
        ours = await house.ask(gateway, caller=holder("mallory"))
        assert theirs.cache is not None
        assert ours.cache is not None
        assert not ours.cache.hit
        assert ours.cache.id != theirs.cache.id
        assert len(backend.calls) == 2

    async def test_nobody_deletes_what_belongs_to_somebody_else(self, house: House) -> None:
        backend = FakeBackend()
        gateway = house.gateway(backend)
        theirs = await house.ask(gateway, caller=holder("alice"))
        assert theirs.cache is not None
        assert not await house.caching.delete(theirs.cache.id, holder("mallory"))
        assert await house.caching.delete_namespace("default", holder("mallory")) == 0
        assert await house.caching.delete(theirs.cache.id, holder("alice"))
        await house.ask(gateway, caller=holder("alice"))
        assert len(backend.calls) == 2
        assert await house.caching.delete_namespace("default", holder("alice")) == 1

    async def test_namespaces_are_apart(self, house: House) -> None:
        backend = FakeBackend()
        gateway = house.gateway(backend)
        for namespace in ("one", "two", "one", "two"):
            await house.ask(gateway, namespace=namespace)
        assert len(backend.calls) == 2

    @pytest.mark.parametrize(
        ("one", "other", "shared"),
        [
            (holder("a"), holder("b"), False),
            (holder("a"), holder("a", CacheScope.SHARED), False),
            (holder("a", CacheScope.SHARED), holder("b", CacheScope.SHARED), True),
            (holder("a", CacheScope.TEAM, "t"), holder("b", CacheScope.TEAM, "t"), True),
            (holder("a", CacheScope.TEAM, "t"), holder("b", CacheScope.TEAM, "u"), False),
            (holder("a", CacheScope.TEAM, "t"), holder("b", CacheScope.KEY, "t"), False),
            (holder("a", CacheScope.TEAM), holder("b", CacheScope.TEAM), False),
            (Caller(CallerKind.TOKEN, "x"), Caller(CallerKind.TOKEN, "y"), False),
            (Caller(CallerKind.TOKEN, "anybody"), ANYBODY, False),
            (ANYBODY, ANYBODY, True),
        ],
    )
    def test_who_shares_with_whom(self, one: Caller, other: Caller, shared: bool) -> None:
        assert (scope_of(one, SETTINGS) == scope_of(other, SETTINGS)) is shared

    @pytest.mark.parametrize("scope", [CacheScope.SHARED, CacheScope.TEAM])
    async def test_who_shares_gets_results_for_the_very_same_picture_only(
        self, house: House, scope: CacheScope
    ) -> None:
        backend = FakeBackend()
        gateway = house.gateway(backend)
        near = request(image=saved(landscape(), "JPEG", quality=85))
        await house.ask(gateway, caller=holder("a", scope, "t"))
        assert (await house.ask(gateway, caller=holder("b", scope, "t"))).cache.hit_type == "direct"
        assert not (await house.ask(gateway, near, caller=holder("b", scope, "t"))).cache.hit
        assert len(backend.calls) == 2

    async def test_unless_the_operator_says_that_similar_ones_will_do(self, house: House) -> None:
        house.caching = house.make_caching(replace(SETTINGS, similar_when_shared=True))
        gateway = house.gateway(FakeBackend())
        near = request(image=saved(landscape(), "JPEG", quality=85))
        await house.ask(gateway, caller=holder("a", CacheScope.SHARED))
        found = await house.ask(gateway, near, caller=holder("b", CacheScope.SHARED))
        assert found.cache is not None
        assert found.cache.hit_type == "semantic"

    async def test_a_search_for_similar_pictures_among_others_is_answered_with_a_warning(self, house: House) -> None:
        gateway = house.gateway(FakeBackend())
        asked = await house.ask(gateway, caller=holder("a", CacheScope.SHARED), lookup=Lookup.SEMANTIC)
        assert any("shared with others" in warning for warning in asked.warnings)
        again = await house.ask(gateway, caller=holder("a", CacheScope.SHARED))
        assert again.cache is not None
        assert again.cache.hit
        assert not any("shared with others" in warning for warning in again.warnings)

    def test_tokens_share_where_the_operator_says_so(self) -> None:
        sharing = replace(SETTINGS, share_without_key=True)
        token, key = Caller(CallerKind.TOKEN, "x"), holder("a", CacheScope.SHARED)
        assert scope_of(token, sharing) == scope_of(ANYBODY, sharing) == scope_of(key, sharing)
        assert scope_of(holder("a"), sharing) != scope_of(key, sharing)

    async def test_callers_with_a_providers_key_are_left_out(self, house: House) -> None:
        backend = FakeBackend()
        gateway = house.gateway(backend)
        direct = Caller(CallerKind.DIRECT, "direct", direct_key="sk-secret")
        for _ in range(2):
            assert (await house.ask(gateway, caller=direct)).cache is None
        assert len(backend.calls) == 2

    def test_unless_the_operator_lets_them_in_each_by_themselves(self) -> None:
        letting = replace(SETTINGS, direct_keys=True)
        scopes = {scope_of(Caller(CallerKind.DIRECT, direct_key=key), letting) for key in ("sk-one", "sk-two")}
        assert len(scopes) == 2
        assert not any("sk-" in str(scope) for scope in scopes)


class Gate:
    """A backend that waits until it is let go."""

    def __init__(self, then: Callable[[ProviderCall, CallContext], Any]) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self._then = then

    async def __call__(self, call: ProviderCall, context: CallContext) -> CallReport:
        self.begun.set()
        await self.go.wait()
        report: CallReport = await self._then(call, context)
        return report


class TestAtOnce:
    async def test_identical_requests_make_one_call(self, house: House) -> None:
        waits = Gate(makes(RED, cost_usd=0.04))
        backend = FakeBackend(waits)
        gateway = house.gateway(backend)
        asking = [started(house.ask(gateway)) for _ in range(10)]
        await waits.begun.wait()
        waits.go.set()
        outcomes = await asyncio.gather(*asking)

        assert len(backend.calls) == 1
        assert {pixel(outcome.images[0].data) for outcome in outcomes} == {(255, 0, 0)}
        assert sorted(outcome.cost_usd or 0.0 for outcome in outcomes) == [0.0] * 9 + [0.04]
        assert len({outcome.cache.id for outcome in outcomes if outcome.cache}) == 1

    async def test_others_are_not_held_up(self, house: House) -> None:
        waits = Gate(makes(RED))
        backend = FakeBackend(waits, makes(GREEN))
        gateway = house.gateway(backend)
        first = started(house.ask(gateway))
        await waits.begun.wait()
        assert len((await house.ask(gateway, request(seed=1))).images) == 1
        assert len((await house.ask(gateway, caller=holder("b"))).images) == 1
        assert len((await house.ask(gateway, no_store=True)).images) == 1
        waits.go.set()
        await first

    async def test_when_the_one_who_works_leaves_the_next_goes_on(self, house: House) -> None:
        hangs = Hangs()
        backend = FakeBackend(hangs, makes(GREEN))
        gateway = house.gateway(backend)
        first = started(house.ask(gateway))
        await hangs.begun.wait()
        others = [started(house.ask(gateway)) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        outcomes = await asyncio.gather(*others)
        assert hangs.stopped.is_set()
        assert len(backend.calls) == 2
        assert {pixel(outcome.images[0].data) for outcome in outcomes} == {(0, 255, 0)}

    async def test_when_one_who_waits_leaves_the_work_goes_on(self, house: House) -> None:
        waits = Gate(makes(RED))
        backend = FakeBackend(waits)
        gateway = house.gateway(backend)
        first = started(house.ask(gateway))
        await waits.begun.wait()
        with pytest.raises(GatewayError) as caught:
            await house.ask(gateway, seconds=0.05)
        assert caught.value.kind is ErrorKind.DEADLINE_EXCEEDED
        waits.go.set()
        assert len((await first).images) == 1

    async def test_a_refusal_goes_for_all_of_them(self, house: House) -> None:
        waits = Gate(fails(ErrorKind.CONTENT_REJECTED, "Not this picture."))
        backend = FakeBackend(waits)
        gateway = house.gateway(backend)
        asking = [started(house.ask(gateway))]
        await waits.begun.wait()
        asking += [started(house.ask(gateway)) for _ in range(3)]
        # The file is known by now, so nothing but the first one's work is left for them to wait for.
        for _ in range(20):
            await asyncio.sleep(0)
        waits.go.set()
        errors = await asyncio.gather(*asking, return_exceptions=True)
        assert len(backend.calls) == 1
        assert [str(error) for error in errors] == ["Not this picture."] * 4
        assert len({id(error) for error in errors}) == 4

    async def test_a_hit_that_is_good_enough_for_one_need_not_be_for_another(self, house: House) -> None:
        waits = Gate(makes(GREEN))
        gateway = house.gateway(FakeBackend(makes(RED), waits))
        await house.ask(gateway)
        near = request(image=saved(landscape().crop((2, 2, 238, 178))))
        # The first asks for nearly the same picture and finds it; the others, begun at the same moment, are choosy.
        easy = started(house.ask(gateway, near))
        choosy = [started(house.ask(gateway, near, threshold=1.0)) for _ in range(2)]
        assert pixel((await easy).images[0].data) == (255, 0, 0)
        await waits.begun.wait()
        waits.go.set()
        assert [pixel((await each).images[0].data) for each in choosy] == [(0, 255, 0)] * 2

    async def test_one_who_is_less_choosy_does_not_wait_for_what_the_cache_has(self, house: House) -> None:
        hangs = Hangs()
        gateway = house.gateway(FakeBackend(makes(RED), hangs))
        await house.ask(gateway)
        near = request(image=saved(landscape().crop((2, 2, 238, 178))))
        choosy = started(house.ask(gateway, near, threshold=1.0))
        await hangs.begun.wait()
        assert pixel((await house.ask(gateway, near)).images[0].data) == (255, 0, 0)
        await ended([choosy])

    async def test_one_who_is_less_choosy_and_finds_nothing_makes_no_second_call(self, house: House) -> None:
        waits = Gate(makes(RED))
        backend = FakeBackend(waits)
        gateway = house.gateway(backend)
        choosy = started(house.ask(gateway, threshold=1.0, lookup=Lookup.DIRECT))
        await waits.begun.wait()
        others = [started(house.ask(gateway, lookup=lookup)) for lookup in (Lookup.BOTH, Lookup.SEMANTIC)]
        waits.go.set()
        assert [pixel((await each).images[0].data) for each in (choosy, *others)] == [(255, 0, 0)] * 3
        assert len(backend.calls) == 1

    async def test_one_who_ran_out_of_time_does_not_spoil_it_for_the_others(self, house: House) -> None:
        hangs = Hangs()
        gateway = house.gateway(FakeBackend(hangs, makes(GREEN)))
        hasty = started(house.ask(gateway, seconds=0.2))
        await hangs.begun.wait()
        patient = started(house.ask(gateway))
        with pytest.raises(GatewayError) as caught:
            await hasty
        assert caught.value.kind is ErrorKind.DEADLINE_EXCEEDED
        assert pixel((await patient).images[0].data) == (0, 255, 0)


class TestResultsNotStored:
    async def test_a_result_that_cannot_be_stored_is_in_the_answer_with_a_warning(
        self, house: House, caplog: pytest.LogCaptureFixture
    ) -> None:
        gateway = house.gateway(FakeBackend(makes(RED, GREEN)))
        house.break_results()
        asked = request(model="a/m", n=2, response_format=ResponseFormat.URL)
        made = await house.ask(gateway, asked)
        assert [(pixel(each.data), each.url) for each in made.images] == [((255, 0, 0), ""), ((0, 255, 0), "")]
        assert made.warnings == (NOT_STORED,)
        # One line for all of them, without a traceback.
        (line,) = (record for record in caplog.records if record.name == "service.results")
        assert line.exc_info is None

        house.mend_results()
        found = await house.ask(gateway, asked)
        assert all(each.url for each in found.images)
        assert found.warnings == ()


class TestStoreAway:
    async def test_requests_are_served_all_the_same(self, house: House) -> None:
        backend = FakeBackend(makes(RED))
        gateway = house.gateway(backend)
        await house.ask(gateway)
        await house.cache.aclose()
        for _ in range(2):
            outcome = await house.ask(gateway)
            assert pixel(outcome.images[0].data) == (255, 0, 0)
            assert outcome.cache is not None
            assert not outcome.cache.hit
        assert len(backend.calls) == 3
