"""The use case over fake backends: what is tried, in which order, what comes of it and what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from fake_backends import (
    BASE_URL,
    FakeBackend,
    Hangs,
    directory,
    fails,
    makes,
    pixel,
    png,
    provider,
    request_context,
)

from service.catalog.profile import Price, Profile
from service.concurrency.tasks import started
from service.core.calls import AttemptEnded
from service.core.errors import ErrorKind, GatewayError
from service.core.values import ImageFormat, ResponseFormat, Size, Target, Usage, VariationRequest
from service.gateway.directory import Alias, Directory
from service.gateway.events import AttemptFailed, AttemptStarted, Event, ImageCompleted, RequestEnded
from service.gateway.gateway import Gateway
from service.routing.route import RoutePolicy, WeightedTarget

RED, GREEN, BLUE = png(colour=(255, 0, 0)), png(colour=(0, 255, 0)), png(colour=(0, 0, 255))
NOT_AN_IMAGE = b"<html>sorry</html>"
MakeGateway = Callable[..., Gateway]


def request(**changes: object) -> VariationRequest:
    fields: dict[str, object] = {"image": png(), "response_format": ResponseFormat.B64_JSON, **changes}
    return VariationRequest(**fields)  # type: ignore[arg-type]


def outcomes(attempts: object) -> list[str]:
    return [f"{each.provider}/{each.model} {each.outcome}" for each in attempts]  # type: ignore[attr-defined]


class TestOneTarget:
    async def test_makes_what_is_asked_for(self, gateway_over: MakeGateway) -> None:
        backend = FakeBackend(makes(png(100, 80), cost_usd=0.04, usage=Usage(input_tokens=3, total_tokens=3)))
        asked = request(size=Size(256, 256), output_format=ImageFormat.JPEG)

        made = await gateway_over(directory(provider("a", backend))).create(asked, request_context())

        (image,) = made.images
        assert (image.size, image.format, image.url) == (Size(256, 256), ImageFormat.JPEG, "")
        assert image.data.startswith(b"\xff\xd8\xff")
        assert (made.target, made.fallback_index, made.model_requested) == (Target("a", "m"), 0, "a/m")
        assert (made.cost_usd, made.usage) == (0.04, Usage(input_tokens=3, total_tokens=3))
        assert made.id.startswith("var_")
        assert len(made.id) == 28

    async def test_hands_out_links_by_default(self, gateway_over: MakeGateway) -> None:
        made = await gateway_over(directory(provider("a", FakeBackend()))).create(
            VariationRequest(image=png()), request_context()
        )
        assert made.images[0].url.startswith(f"{BASE_URL}/v1/images/files/")
        assert made.images[0].data == b""

    async def test_fetches_the_image_behind_a_url(self, gateway_over: MakeGateway) -> None:
        asked_for = []

        async def fetch(url: str) -> bytes:
            asked_for.append(url)
            return png()

        gateway = gateway_over(directory(provider("a", FakeBackend())), fetch=fetch)
        await gateway.create(request(image=b"", image_url="https://example.org/cat.png"), request_context())
        assert asked_for == ["https://example.org/cat.png"]

    async def test_calls_nobody_for_something_that_is_no_image(self, gateway_over: MakeGateway) -> None:
        backend = FakeBackend()
        with pytest.raises(GatewayError) as caught:
            await gateway_over(directory(provider("a", backend))).create(request(image=NOT_AN_IMAGE), request_context())
        assert caught.value.code == "invalid_image"
        assert backend.calls == []

    async def test_ignores_images_beyond_those_asked_for(self, gateway_over: MakeGateway) -> None:
        backend = FakeBackend(makes(RED, GREEN, BLUE))
        made = await gateway_over(directory(provider("a", backend))).create(request(n=2), request_context())
        assert [pixel(image.data) for image in made.images] == [(255, 0, 0), (0, 255, 0)]

    async def test_tells_what_happens_in_order(self, gateway_over: MakeGateway) -> None:
        events: list[Event] = []
        backend = FakeBackend(makes(RED))
        await gateway_over(directory(provider("a", backend))).create(request(), request_context(), events.append)
        assert isinstance(events[0], AttemptStarted)
        assert isinstance(events[1], ImageCompleted)
        assert [type(event) for event in events[2:]] == [AttemptEnded, RequestEnded]

    async def test_shows_the_raw_exchange_only_where_the_operator_allows_it(self, gateway_over: MakeGateway) -> None:
        shown, hidden = FakeBackend(), FakeBackend()
        for backend, allow_raw in ((shown, True), (hidden, False)):
            names = directory(provider("a", backend, allow_raw=allow_raw))
            await gateway_over(names).create(request(raw=True), request_context())
        assert [shown.contexts[0].raw, hidden.contexts[0].raw] == [True, False]


class TestSplitting:
    async def test_asks_as_often_as_it_takes_with_seeds_in_order(self, gateway_over: MakeGateway) -> None:
        backend = FakeBackend()
        names = directory(provider("a", backend, Profile(max_n=4, seed=True)))
        made = await gateway_over(names).create(request(n=10, seed=100), request_context())
        assert sorted((call.seed, call.n) for call in backend.calls) == [(100, 4), (104, 4), (108, 2)]
        assert [image.index for image in made.images] == list(range(10))

    async def test_seeds_wrap_around(self, gateway_over: MakeGateway) -> None:
        backend = FakeBackend()
        names = directory(provider("a", backend, Profile(max_n=1, seed=True)))
        await gateway_over(names).create(request(n=2, seed=2**32 - 1), request_context())
        assert sorted(call.seed or 0 for call in backend.calls) == [0, 2**32 - 1]

    async def test_adds_up_cost_and_usage(self, gateway_over: MakeGateway) -> None:
        backend = FakeBackend(makes(RED, cost_usd=0.25, usage=Usage(total_tokens=10)))
        names = directory(provider("a", backend, Profile(max_n=1)))
        made = await gateway_over(names).create(request(n=3), request_context())
        assert made.cost_usd == pytest.approx(0.75)
        assert made.usage == Usage(total_tokens=30)

    async def test_counts_what_was_paid_for_an_answer_without_images(self, gateway_over: MakeGateway) -> None:
        said = FakeBackend(fails(ErrorKind.BAD_RESPONSE, cost_usd=0.25))
        reckoned = FakeBackend(fails(ErrorKind.BAD_RESPONSE, usage=Usage(input_text_tokens=1_000_000, total_tokens=9)))
        names = directory(
            provider("a", said),
            provider("b", reckoned, Profile(price=Price(per_image=9, input_text_tokens=5))),
            provider("c", FakeBackend(makes(RED, cost_usd=0.5))),
        )
        made = await gateway_over(names).create(request(fallbacks=("b/m", "c/m")), request_context())
        assert made.cost_usd == pytest.approx(5.75)
        assert made.usage == Usage(input_text_tokens=1_000_000, total_tokens=9)

    async def test_does_not_know_a_sum_of_which_a_part_is_not_known(self, gateway_over: MakeGateway) -> None:
        known = FakeBackend(makes(RED, cost_usd=0.25))
        names = directory(provider("a", known, Profile(max_n=2)), provider("b", FakeBackend(makes(RED)), Profile()))
        made = await gateway_over(names).create(request(n=2, fallbacks=("b/m",)), request_context())
        assert len(made.images) == 2
        assert made.cost_usd is None

    async def test_tells_of_a_source_that_had_to_be_made_smaller(self, gateway_over: MakeGateway) -> None:
        names = directory(provider("a", FakeBackend(makes(RED)), Profile(max_input_side=32)))
        made = await gateway_over(names).create(request(model="a/m", image=png(100, 80)), request_context())
        (warning,) = made.warnings
        assert "made smaller, from 100x80 to 32x26" in warning

    async def test_keeps_to_the_providers_limit_across_requests(self, gateway_over: MakeGateway) -> None:
        backend = FakeBackend(makes())
        gateway = gateway_over(directory(provider("a", backend, Profile(max_n=1), concurrency=2)))
        await asyncio.gather(*(gateway.create(request(n=3), request_context()) for _ in range(2)))
        assert len(backend.calls) == 6
        assert backend.most_running == 2

    async def test_a_gap_keeps_the_seed_of_its_place(self, gateway_over: MakeGateway) -> None:
        """Images 0 and 2 are left to the fallback: with seeds 7 and 8, its second would be image 1 once more."""
        unavailable = fails(ErrorKind.UNAVAILABLE)
        first, second = FakeBackend(unavailable, makes(), unavailable), FakeBackend()
        profile = Profile(max_n=1, seed=True)
        names = directory(provider("a", first, profile), provider("b", second, profile))
        await gateway_over(names).create(request(n=3, seed=7, fallbacks=("b/m",)), request_context())
        assert sorted(call.seed or 0 for call in second.calls) == [7, 9]


class TestFallbacks:
    async def test_are_tried_in_order_until_one_succeeds(self, gateway_over: MakeGateway) -> None:
        first = FakeBackend(fails(ErrorKind.RATE_LIMITED, "Slow down."))
        second = FakeBackend(fails(ErrorKind.UNAVAILABLE, "Down."))
        names = directory(
            provider("a", first), provider("b", second), provider("c", FakeBackend()), provider("d", FakeBackend())
        )
        events: list[Event] = []
        asked = request(fallbacks=("b/m", "c/m", "d/m"))

        made = await gateway_over(names).create(asked, request_context(), events.append)

        assert (made.target, made.fallback_index) == (Target("c", "m"), 2)
        told = [event for event in events if isinstance(event, AttemptStarted | AttemptFailed)]
        assert [type(event) for event in told] == [
            AttemptStarted,
            AttemptFailed,
            AttemptStarted,
            AttemptFailed,
            AttemptStarted,
        ]
        failed = told[1]
        assert isinstance(failed, AttemptFailed)
        assert (failed.reason, failed.next_target) == ("Slow down.", Target("b", "m"))
        assert [attempt.outcome for attempt in made.attempts] == ["rate_limited", "unavailable", "success"]

    async def test_all_failing_alike_is_that_failure(self, gateway_over: MakeGateway) -> None:
        limited = fails(ErrorKind.RATE_LIMITED)
        names = directory(provider("a", FakeBackend(limited)), provider("b", FakeBackend(limited)))
        with pytest.raises(GatewayError) as caught:
            await gateway_over(names).create(request(fallbacks=("b/m",)), request_context())
        assert caught.value.kind is ErrorKind.RATE_LIMITED
        assert "a/m" in caught.value.message
        assert "b/m" in caught.value.message

    async def test_the_last_failure_has_nothing_next(self, gateway_over: MakeGateway) -> None:
        events: list[Event] = []
        with pytest.raises(GatewayError):
            await gateway_over(directory(provider("a", FakeBackend(fails(ErrorKind.UNAVAILABLE))))).create(
                request(), request_context(), events.append
            )
        failed, ended = events[-2:]
        assert isinstance(failed, AttemptFailed)
        assert failed.next_target is None
        assert isinstance(ended, RequestEnded)
        assert ended.error is not None

    async def test_content_that_was_refused_is_not_shopped_around(self, gateway_over: MakeGateway) -> None:
        other = FakeBackend()
        names = directory(provider("a", FakeBackend(fails(ErrorKind.CONTENT_REJECTED))), provider("b", other))
        with pytest.raises(GatewayError) as caught:
            await gateway_over(names).create(request(fallbacks=("b/m",)), request_context())
        assert caught.value.kind is ErrorKind.CONTENT_REJECTED
        assert other.calls == []

    async def test_content_that_was_refused_is_shown_to_the_next_if_the_operator_says_so(
        self, gateway_over: MakeGateway
    ) -> None:
        names = directory(provider("a", FakeBackend(fails(ErrorKind.CONTENT_REJECTED))), provider("b", FakeBackend()))
        gateway = gateway_over(names, policy=RoutePolicy(next_after_content_rejected=True))
        made = await gateway.create(request(fallbacks=("b/m",)), request_context())
        assert made.fallback_index == 1

    async def test_a_provider_that_cannot_be_used_is_an_attempt_too(self, gateway_over: MakeGateway) -> None:
        no_key = GatewayError(ErrorKind.UPSTREAM_AUTH, "a has no key.", may_have_run=False)
        unusable = FakeBackend(unavailable=no_key)
        names = directory(provider("a", unusable), provider("b", FakeBackend()))
        made = await gateway_over(names).create(request(fallbacks=("b/m",)), request_context())
        assert unusable.calls == []
        assert outcomes(made.attempts)[0] == "a/m upstream_auth"

    async def test_a_failure_that_the_backend_did_not_record_is_an_attempt_too(self, gateway_over: MakeGateway) -> None:
        """A breaker that is open refuses before there is anything to record."""
        resting = FakeBackend(fails(ErrorKind.UNAVAILABLE, "It is given a rest.", record=False))
        names = directory(provider("a", resting), provider("b", FakeBackend()))
        made = await gateway_over(names).create(request(fallbacks=("b/m",)), request_context())
        assert outcomes(made.attempts)[0] == "a/m unavailable"

    async def test_an_alias_may_lead_through_a_provider_that_is_not_configured(self, gateway_over: MakeGateway) -> None:
        alias = Alias((WeightedTarget(Target("absent", "x")), WeightedTarget(Target("a", "m"))))
        names = directory(
            provider("a", FakeBackend()),
            aliases={"fast": alias},
            unconfigured={"absent": "absent has no key: set ABSENT_API_KEY."},
        )
        events: list[Event] = []
        made = await gateway_over(names).create(request(model="fast"), request_context(), events.append)
        assert (made.target, made.fallback_index) == (Target("a", "m"), 1)
        assert isinstance(events[2], AttemptFailed)
        assert "ABSENT_API_KEY" in events[2].reason


class TestNamesThatAreNoModels:
    async def test_whoever_named_no_model_is_told_which_answered(self, gateway_over: MakeGateway) -> None:
        made = await gateway_over(directory(provider("a", FakeBackend()))).create(request(), request_context())
        assert made.warnings == ("No model was named: the default route answered, with a/m.",)

    async def test_what_the_operator_chose_as_default_needs_no_warning(self, gateway_over: MakeGateway) -> None:
        names = Directory([provider("a", FakeBackend())], {}, "a/m", {}, lambda: 0.5, default_is_chosen=True)
        assert (await gateway_over(names).create(request(), request_context())).warnings == ()

    async def test_a_retired_name_is_told_to_be_one(self, gateway_over: MakeGateway) -> None:
        alias = Alias((WeightedTarget(Target("a", "m")),))
        names = Directory([provider("a", FakeBackend())], {"old": alias}, "a/m", {}, lambda: 0.5, stand_ins=["old"])
        made = await gateway_over(names).create(request(model="old"), request_context())
        assert made.warnings == ("old is retired: the default route answered in its place, with a/m.",)

    async def test_options_for_a_provider_that_is_not_asked_are_told(self, gateway_over: MakeGateway) -> None:
        asked = request(model="a/m", provider_options={"a": {"x": 1}, "b": {"x": 1}})
        made = await gateway_over(directory(provider("a", FakeBackend()))).create(asked, request_context())
        assert made.warnings == ("provider_options for 'b' were not used: it is not among the providers asked.",)


class TestHowTargetsHaveBeenDoing:
    async def test_a_failure_counts_as_long_as_its_request_had(self, gateway_over: MakeGateway) -> None:
        names = directory(provider("a", FakeBackend(fails(ErrorKind.UNAVAILABLE))), provider("b", FakeBackend()))
        await gateway_over(names).create(request(fallbacks=("b/m",)), request_context())
        failed, made = (names.standings.time_s(Target(name, "m")) for name in "ab")
        assert failed is not None
        assert made is not None
        assert failed > made

    async def test_what_is_not_the_targets_fault_says_nothing_of_it(self, gateway_over: MakeGateway) -> None:
        names = directory(provider("a", FakeBackend(fails(ErrorKind.CONTENT_REJECTED))))
        with pytest.raises(GatewayError):
            await gateway_over(names).create(request(), request_context())
        assert names.standings.time_s(Target("a", "m")) is None
        assert names.standings.running(Target("a", "m")) == 0


class TestSomeImagesMissing:
    async def test_the_next_target_makes_them(self, gateway_over: MakeGateway) -> None:
        first, second = FakeBackend(makes(RED, RED)), FakeBackend(makes(BLUE))
        names = directory(provider("a", first), provider("b", second))
        made = await gateway_over(names).create(request(model="a/m", n=3, fallbacks=("b/m",)), request_context())
        assert [pixel(image.data) for image in made.images] == [(255, 0, 0), (255, 0, 0), (0, 0, 255)]
        assert [call.n for call in second.calls] == [1]
        assert made.target == Target("b", "m")
        assert made.warnings == ()

    async def test_there_is_a_warning_when_nobody_makes_them(self, gateway_over: MakeGateway) -> None:
        backend = FakeBackend(fails(ErrorKind.UNAVAILABLE, "It went down.", after=[RED]))
        made = await gateway_over(directory(provider("a", backend))).create(
            request(model="a/m", n=3), request_context()
        )
        assert len(made.images) == 1
        assert made.warnings == ("Only 1 of 3 images could be made: It went down.",)

    async def test_whoever_made_images_is_named_and_not_who_failed_after(self, gateway_over: MakeGateway) -> None:
        names = directory(
            provider("a", FakeBackend(makes(RED))), provider("b", FakeBackend(fails(ErrorKind.UNAVAILABLE)))
        )
        made = await gateway_over(names).create(request(n=2, fallbacks=("b/m",)), request_context())
        assert (made.target, made.fallback_index) == (Target("a", "m"), 0)

    async def test_an_image_that_cannot_be_used_leaves_the_others(self, gateway_over: MakeGateway) -> None:
        """They are paid for: the damage of one is no reason to lose three."""
        backend = FakeBackend(makes(NOT_AN_IMAGE, RED, GREEN, BLUE, cost_usd=0.4))
        made = await gateway_over(directory(provider("a", backend))).create(
            # A size of its own, so that the good ones take longer than it takes to see that one is bad.
            request(n=4, size=Size(1024, 1024)),
            request_context(),
        )
        assert [image.index for image in made.images] == [1, 2, 3]
        assert made.cost_usd == 0.4
        assert made.warnings[0].startswith("Only 3 of 4 images could be made: The provider's result cannot be used.")

    async def test_an_answer_without_a_usable_image_is_no_success(self, gateway_over: MakeGateway) -> None:
        names = directory(provider("a", FakeBackend(makes(NOT_AN_IMAGE))), provider("b", FakeBackend()))
        made = await gateway_over(names).create(request(fallbacks=("b/m",)), request_context())
        assert [attempt.outcome for attempt in made.attempts] == ["bad_response", "success"]


class TestDirectKeys:
    @pytest.mark.parametrize("model", ["a/m", "only-a-has-it"])
    async def test_reach_the_provider_that_the_caller_named_and_no_other(
        self, gateway_over: MakeGateway, model: str
    ) -> None:
        first, second = FakeBackend(fails(ErrorKind.UPSTREAM_AUTH)), FakeBackend()
        a = provider("a", first)
        a = type(a)("a", first, {**a.profiles, "only-a-has-it": Profile()})
        asked = request(model=model, fallbacks=("b/m",))
        await gateway_over(directory(a, provider("b", second))).create(asked, request_context(direct_key="sk-theirs"))
        assert [first.contexts[0].direct_key, second.contexts[0].direct_key] == ["sk-theirs", ""]

    @pytest.mark.parametrize("model", ["", "fast", "m"])
    async def test_are_not_sent_where_the_operator_chose_the_provider(
        self, gateway_over: MakeGateway, model: str
    ) -> None:
        first, second = FakeBackend(), FakeBackend()
        aliases = {"fast": Alias((WeightedTarget(Target("a", "m")),))}
        names = directory(provider("a", first), provider("b", second), aliases=aliases)
        await gateway_over(names).create(request(model=model), request_context(direct_key="sk-theirs"))
        assert first.contexts[0].direct_key == ""

    async def test_make_up_for_a_provider_without_keys(self, gateway_over: MakeGateway) -> None:
        keyless = FakeBackend(unavailable=GatewayError(ErrorKind.UPSTREAM_AUTH, "a has no key."))
        gateway = gateway_over(directory(provider("a", keyless)))
        await gateway.create(request(model="a/m"), request_context(direct_key="sk-theirs"))
        assert len(keyless.calls) == 1


class TestTimeAndCancellation:
    async def test_a_backend_that_hangs_does_not_outlast_the_deadline(self, gateway_over: MakeGateway) -> None:
        hangs = Hangs()
        names = directory(provider("a", FakeBackend(fails(ErrorKind.RATE_LIMITED))), provider("b", FakeBackend(hangs)))
        events: list[Event] = []
        with pytest.raises(GatewayError) as caught:
            await gateway_over(names).create(request(fallbacks=("b/m",)), request_context(0.2), events.append)
        assert caught.value.kind is ErrorKind.DEADLINE_EXCEEDED
        assert caught.value.message.endswith("Tried: fake/m (rate_limited), b/m (deadline_exceeded).")
        assert hangs.stopped.is_set()
        failed = events[-2]
        assert isinstance(failed, AttemptFailed)
        assert (failed.attempt.outcome, failed.next_target) == ("deadline_exceeded", None)

    async def test_what_was_made_in_time_is_returned(self, gateway_over: MakeGateway) -> None:
        backend = FakeBackend(Hangs(after=[RED]))
        made = await gateway_over(directory(provider("a", backend))).create(request(n=2), request_context(0.3))
        assert [pixel(image.data) for image in made.images] == [(255, 0, 0)]
        assert made.warnings[0].startswith("Only 1 of 2 images could be made: The time allowed for this request ran")

    async def test_a_fetch_that_hangs_does_not_outlast_the_deadline(self, gateway_over: MakeGateway) -> None:
        async def fetch(_: str) -> bytes:
            await asyncio.Event().wait()
            raise AssertionError

        gateway = gateway_over(directory(provider("a", FakeBackend())), fetch=fetch)
        with pytest.raises(GatewayError, match="No provider had been asked yet"):
            await gateway.create(request(image=b"", image_url="https://example.org/x"), request_context(0.05))

    async def test_backends_are_told_to_end_a_little_before(self, gateway_over: MakeGateway) -> None:
        backend = FakeBackend()
        around = request_context(10)
        await gateway_over(directory(provider("a", backend))).create(request(), around)
        assert 0 < around.deadline - backend.contexts[0].deadline < 0.1

    async def test_cancelling_stops_every_call(self, gateway_over: MakeGateway) -> None:
        calls = [Hangs(after=[RED]), Hangs(), Hangs()]
        names = directory(provider("a", FakeBackend(*calls), Profile(max_n=1)))
        before = asyncio.all_tasks()
        task = started(gateway_over(names).create(request(n=3), request_context()))
        for call in calls:
            await call.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert all(call.stopped.is_set() for call in calls)
        assert asyncio.all_tasks() == before

    async def test_a_bug_in_one_call_stops_the_others_and_is_told_as_it_is(self, gateway_over: MakeGateway) -> None:
        hangs = Hangs()

        async def bug(call: object, context: object) -> object:
            await hangs.begun.wait()
            raise ZeroDivisionError

        names = directory(provider("a", FakeBackend(hangs, bug), Profile(max_n=1)))  # type: ignore[arg-type]
        with pytest.raises(ZeroDivisionError):
            await gateway_over(names).create(request(n=2), request_context())
        assert hangs.stopped.is_set()
