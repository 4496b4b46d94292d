"""The meaning of the names in a request."""

from __future__ import annotations

from typing import Any

import pytest
from fake_backends import FakeBackend, directory, provider

from service.catalog.profile import Price, Profile
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Target, VariationRequest
from service.gateway.directory import Alias, Directory, Provider
from service.governance.keys import VirtualKey, digest
from service.routing.ordering import AliasPolicy
from service.routing.route import WeightedTarget

OPENAI = Provider("openai", FakeBackend(), {"gpt-image-2": Profile(), "shared": Profile()})
FAL = Provider("fal", FakeBackend(), {"fal-ai/flux": Profile(), "shared": Profile()}, default_profile=Profile(max_n=2))
ALIASES = {
    "fast": Alias((WeightedTarget(Target("fal", "fal-ai/flux")), WeightedTarget(Target("openai", "gpt-image-2")))),
    "drawn": Alias(
        (WeightedTarget(Target("fal", "a"), 1.0), WeightedTarget(Target("openai", "shared"), 3.0)),
        policy=AliasPolicy.WEIGHTED,
    ),
    "shadow": Alias((WeightedTarget(Target("fal", "a")),)),
}


def make(draw: float = 0.5, default_route: str = "fast") -> Directory:
    return Directory([OPENAI, FAL], ALIASES, default_route, {"bfl": "bfl has no key: set BFL_API_KEY."}, lambda: draw)


def route(model: str, *fallbacks: str) -> list[str]:
    return [str(target) for target in make().route(model, fallbacks)]


@pytest.mark.parametrize(
    ("model", "targets"),
    [
        ("openai/gpt-image-2", ["openai/gpt-image-2"]),
        ("fal/fal-ai/flux", ["fal/fal-ai/flux"]),
        ("fal/anything/else", ["fal/anything/else"]),
        ("gpt-image-2", ["openai/gpt-image-2"]),
        ("shared", ["openai/shared"]),
        ("fast", ["fal/fal-ai/flux", "openai/gpt-image-2"]),
        ("", ["fal/fal-ai/flux", "openai/gpt-image-2"]),
    ],
)
def test_a_name_means(model: str, targets: list[str]) -> None:
    assert route(model) == targets


def test_fallbacks_follow_in_order() -> None:
    assert route("openai/shared", "fast", "openai/shared") == [
        "openai/shared",
        "fal/fal-ai/flux",
        "openai/gpt-image-2",
        "openai/shared",
    ]


def test_a_weighted_alias_is_ordered_by_a_draw() -> None:
    draws = iter([0.999, 0.001, 0.001, 0.999])
    names = Directory([OPENAI, FAL], ALIASES, "fast", {}, lambda: next(draws))
    assert [str(target) for target in names.route("drawn", ())] == ["openai/shared", "fal/a"]
    assert [str(target) for target in names.route("drawn", ())] == ["fal/a", "openai/shared"]


@pytest.mark.parametrize(
    "name", ["nothing", "openai/", "openai/unlisted", "/gpt-image-2", "nobody/x", "fal/", "/", "x" * 5000, "\ud800"]
)
def test_a_name_that_means_nothing_is_not_found(name: str) -> None:
    with pytest.raises(GatewayError) as caught:
        make().route(name, ())
    error = caught.value
    assert (error.kind, error.code, error.param) == (ErrorKind.NOT_FOUND, "model_not_found", "model")
    assert len(error.message) < 1000
    error.message.encode()


def test_not_found_tells_what_there_is() -> None:
    with pytest.raises(GatewayError) as caught:
        make().route("nothing", ())
    for name in ("fast", "openai/gpt-image-2", "fal/fal-ai/flux", "Any model of fal"):
        assert name in caught.value.message


def test_not_found_tells_how_to_configure_what_could_be() -> None:
    with pytest.raises(GatewayError, match="BFL_API_KEY"):
        make().route("bfl/flux-2-pro", ())


def test_a_wrong_fallback_is_named() -> None:
    with pytest.raises(GatewayError) as caught:
        make().route("fast", ["shared", "nothing"])
    assert caught.value.param == "fallbacks[1]"


def test_what_is_known_of_a_model() -> None:
    names = make()
    assert names.profile(Target("openai", "gpt-image-2")) is OPENAI.profiles["gpt-image-2"]
    assert names.profile(Target("fal", "unlisted")) is FAL.default_profile


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (Target("bfl", "flux"), ErrorKind.UNAVAILABLE),
        (Target("nobody", "x"), ErrorKind.UNAVAILABLE),
        (Target("openai", "unlisted"), ErrorKind.MODEL_GONE),
    ],
)
def test_an_aliass_target_that_is_not_there_is_a_failure_that_the_next_may_make_up_for(
    target: Target, kind: ErrorKind
) -> None:
    with pytest.raises(GatewayError) as caught:
        make().profile(target)
    assert caught.value.kind is kind
    assert not caught.value.may_have_run


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("openai/gpt-image-2", True),
        ("fal/anything", True),
        ("gpt-image-2", True),
        ("shared", False),
        ("fast", False),
        ("", False),
        ("nobody/x", False),
    ],
)
def test_whether_a_request_names_its_provider(model: str, named: bool) -> None:
    assert make().names_provider(model) is named


def test_a_directory_of_one() -> None:
    assert directory(provider("a", FakeBackend())).route("", ()) == (Target("a", "m"),)


class TestPolicies:
    """Aliases whose order depends on what is known of their targets."""

    def names(self, policy: AliasPolicy) -> Directory:
        models = {
            "dear": Profile(price=Price(per_image=0.1)),
            "unknown": Profile(),
            "large": Profile(max_n=4, price=Price(per_request=0.12)),
        }
        targets = tuple(WeightedTarget(Target("p", model)) for model in models)
        alias = Alias((*targets, WeightedTarget(Target("absent", "m"))), policy=policy)
        return Directory([Provider("p", FakeBackend(), models)], {"best": alias}, "best", {}, lambda: 0.99)

    def order(self, names: Directory, **wishes: Any) -> list[str]:
        return [target.model for target in names.route("best", (), request=VariationRequest(**wishes))]

    def test_the_cheapest_for_this_very_request_goes_first(self) -> None:
        names = self.names(AliasPolicy.CHEAPEST)
        assert self.order(names, n=1) == ["dear", "large", "unknown", "m"]
        # One call makes four images.
        assert self.order(names, n=4) == ["large", "dear", "unknown", "m"]

    def test_the_fastest_of_late_goes_first(self) -> None:
        names = self.names(AliasPolicy.FASTEST)
        for model, seconds in (("dear", 3.0), ("unknown", 1.0), ("large", 2.0), ("m", 9.0)):
            names.standings.took(Target("absent" if model == "m" else "p", model), seconds)
        assert self.order(names) == ["unknown", "large", "dear", "m"]

    def test_the_least_busy_goes_first(self) -> None:
        names = self.names(AliasPolicy.LEAST_BUSY)
        with names.standings.trying(Target("p", "dear")):
            assert self.order(names) == ["unknown", "large", "m", "dear"]
        assert self.order(names) == ["dear", "unknown", "large", "m"]


def test_not_found_tells_nothing_of_what_the_key_may_not_use() -> None:
    key = VirtualKey("narrow", digest("x"), providers=("openai",), models=("gpt-*",))
    for naming in (lambda: make().route("nothing", (), key), lambda: make().route("shared", ("nothing",), key)):
        with pytest.raises(GatewayError) as caught:
            naming()
        assert "openai/gpt-image-2" in caught.value.message or caught.value.code == "model_not_allowed"
        for name in ("fal", "openai/shared", "drawn", "shadow"):
            assert name not in caught.value.message.replace("fallbacks", "")
