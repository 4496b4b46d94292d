"""Requests fitted to what a model can do."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from provider_case import SOURCE

from service.catalog import catalog
from service.catalog.fit import FittedRequest, Part, fit, size_to_ask, split
from service.catalog.profile import Profile, PromptRule
from service.core.calls import ProviderCall
from service.core.values import ImageFormat, Size, VariationRequest

SQUARES = (Size(256, 256), Size(512, 512), Size(1024, 1024))
THREE = (Size(1024, 1024), Size(1536, 1024), Size(1024, 1536))
DEFAULT_PROMPT = "Make a variation."


def fitted(request: VariationRequest, profile: Profile) -> FittedRequest:
    return fit(request, profile, provider="acme", source=Size(800, 600), default_prompt=DEFAULT_PROMPT)


@pytest.mark.parametrize(
    ("n", "max_n", "sizes"), [(1, 1, [1]), (3, 1, [1, 1, 1]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (2, 10, [2])]
)
def test_large_requests_are_split(n: int, max_n: int, sizes: list[int]) -> None:
    assert [part.n for part in split(n, max_n, None)] == sizes


def test_no_two_calls_get_the_same_seed() -> None:
    assert split(10, 4, 7) == (Part(0, 4, 7), Part(4, 4, 11), Part(8, 2, 15))


def test_seeds_stay_in_their_range() -> None:
    assert [part.seed for part in split(3, 1, 2**32 - 1)] == [2**32 - 1, 0, 1]


@given(st.integers(1, 50), st.integers(1, 12), st.none() | st.integers(0, 2**32 - 1))
def test_splits_add_up(n: int, max_n: int, seed: int | None) -> None:
    parts = split(n, max_n, seed)
    assert sum(part.n for part in parts) == n
    assert all(1 <= part.n <= max_n for part in parts)
    assert [part.first for part in parts] == [sum(other.n for other in parts[:index]) for index in range(len(parts))]
    assert len({part.seed for part in parts}) == (len(parts) if seed is not None else 1)


@pytest.mark.parametrize(
    ("wanted", "offered", "source", "asked"),
    [
        # The shape decides first, then the smallest that is large enough, else the largest.
        (Size(1024, 1024), THREE, Size(800, 600), Size(1024, 1024)),
        (Size(1792, 1024), THREE, Size(600, 800), Size(1536, 1024)),
        (Size(1024, 1792), THREE, Size(600, 800), Size(1024, 1536)),
        (Size(256, 256), SQUARES, Size(800, 600), Size(256, 256)),
        (Size(300, 300), SQUARES, Size(800, 600), Size(512, 512)),
        (Size(2048, 2048), SQUARES, Size(800, 600), Size(1024, 1024)),
        (Size(1792, 1024), SQUARES, Size(800, 600), Size(1024, 1024)),
        # auto: the source's shape.
        (None, THREE, Size(800, 600), Size(1536, 1024)),
        (None, THREE, Size(60, 100), Size(1024, 1536)),
        (None, THREE, Size(999, 1000), Size(1024, 1024)),
        (None, SQUARES, Size(100, 100), Size(1024, 1024)),
    ],
)
def test_the_nearest_size_on_offer_is_asked_for(
    wanted: Size | None, offered: tuple[Size, ...], source: Size, asked: Size
) -> None:
    assert size_to_ask(wanted, Profile(sizes=offered), source) == asked


@pytest.mark.parametrize(
    ("wanted", "facts", "source", "asked"),
    [
        (Size(1792, 1024), {}, Size(800, 600), Size(1792, 1024)),
        (Size(1000, 500), {"size_multiple": 16}, Size(800, 600), Size(1008, 512)),
        (Size(256, 256), {"min_side": 1024}, Size(800, 600), Size(1024, 1024)),
        (Size(1792, 1024), {"max_side": 896}, Size(800, 600), Size(896, 512)),
        (Size(1024, 1024), {"max_pixels": 512 * 512}, Size(800, 600), Size(512, 512)),
        (None, {"size_multiple": 16}, Size(4000, 1000), Size(2048, 512)),
        (None, {"size_multiple": 16}, Size(50, 50), Size(1024, 1024)),
        (None, {"square_input": True}, Size(4000, 1000), Size(1024, 1024)),
        # A ribbon: the limits win over the shape.
        (None, {"min_side": 512, "max_side": 1024}, Size(10_000, 100), Size(1024, 512)),
    ],
)
def test_free_sizes_are_scaled_into_the_limits(
    wanted: Size | None, facts: dict[str, Any], source: Size, asked: Size
) -> None:
    assert size_to_ask(wanted, Profile(**facts), source) == asked


@pytest.mark.parametrize("wanted", [None, Size(512, 512)])
def test_no_size_is_asked_for_where_the_output_follows_the_input(wanted: Size | None) -> None:
    assert size_to_ask(wanted, Profile(output_follows_input=True), Size(800, 600)) is None


def test_auto_is_left_to_models_that_find_the_shape_by_themselves() -> None:
    assert size_to_ask(None, Profile(auto_follows_input=True), Size(800, 600)) is None
    assert size_to_ask(Size(512, 512), Profile(auto_follows_input=True), Size(800, 600)) == Size(512, 512)


sides = st.integers(1, 8192)
some_sizes = st.builds(Size, sides, sides)


@given(
    wanted=st.none() | some_sizes,
    source=some_sizes,
    multiple=st.sampled_from([1, 2, 8, 16, 64]),
    min_side=st.integers(1, 1500),
    max_side=st.integers(64, 4096),
    max_pixels=st.integers(1, 4096 * 4096),
)
def test_every_free_size_obeys_the_profile(
    wanted: Size | None, source: Size, multiple: int, min_side: int, max_side: int, max_pixels: int
) -> None:
    least = math.ceil(min_side / multiple) * multiple
    assume(least <= max_side // multiple * multiple)
    assume(least * least <= max_pixels)
    profile = Profile(size_multiple=multiple, min_side=min_side, max_side=max_side, max_pixels=max_pixels)
    asked = size_to_ask(wanted, profile, source)
    assert asked is not None
    for side in (asked.width, asked.height):
        assert min_side <= side <= max_side
        assert side % multiple == 0
    assert asked.pixels <= max_pixels


@given(wanted=st.none() | some_sizes, source=some_sizes, offered=st.lists(some_sizes, min_size=1, max_size=6))
def test_every_size_from_a_list_is_on_it(wanted: Size | None, source: Size, offered: list[Size]) -> None:
    assert size_to_ask(wanted, Profile(sizes=tuple(offered)), source) in offered


@pytest.mark.parametrize(
    "size", ["256x256", "512x512", "1024x1024", "1792x1024", "1024x1792", "1536x1024", "1024x1536"]
)
def test_openai_is_asked_for_sizes_it_knows_how_to_make(size: str) -> None:
    width, _, height = size.partition("x")
    asked = size_to_ask(Size(int(width), int(height)), catalog.load()["openai"].models["gpt-image-2"], Size(640, 480))
    assert asked is not None
    # Squares below its least number of pixels become the smallest one above it.
    assert str(asked) == ("816x816" if size in ("256x256", "512x512") else size)


def test_shapes_too_long_for_a_model_are_asked_for_as_its_longest() -> None:
    openai = catalog.load()["openai"].models["gpt-image-2"]
    for wanted in (Size(4000, 100), Size(100, 4000)):
        asked = size_to_ask(wanted, openai, wanted)
        assert asked is not None
        assert max(asked.width, asked.height) <= 3 * min(asked.width, asked.height)
        assert asked.pixels >= openai.min_pixels


def test_what_the_model_has_is_passed_on() -> None:
    request = VariationRequest(
        n=3,
        size=Size(512, 512),
        output_format=ImageFormat.WEBP,
        prompt="Warmer.",
        strength=0.0,
        seed=0,
        quality="high",
        background="opaque",
        user="user-7",
        provider_options={"acme": {"steps": 9}, "other": {"steps": 1}},
    )
    profile = Profile(
        max_n=2,
        seed=True,
        strength=True,
        quality=True,
        background=True,
        prompt=PromptRule.OPTIONAL,
        output_formats=(ImageFormat.PNG, ImageFormat.WEBP),
    )
    assert fitted(request, profile) == FittedRequest(
        parts=(Part(0, 2, 0), Part(2, 1, 2)),
        size=Size(512, 512),
        prompt="Warmer.",
        strength=0.0,
        quality="high",
        background="opaque",
        output_format=ImageFormat.WEBP,
        user="user-7",
        options={"steps": 9},
        warnings=(),
    )


def test_a_call_carries_everything_that_was_fitted() -> None:
    made = fitted(VariationRequest(), Profile())
    for name in {each.name for each in fields(made)} & {each.name for each in fields(ProviderCall)}:
        mark: Any = object()
        assert getattr(replace(made, **{name: mark}).call(made.parts[0], "m", SOURCE), name) is mark, name


def test_what_the_model_lacks_is_dropped_with_a_warning_each() -> None:
    request = VariationRequest(prompt="Warmer.", strength=0.0, seed=0, quality="high", background="opaque")
    made = fitted(request, Profile())
    assert (made.prompt, made.strength, made.parts[0].seed, made.quality, made.background) == ("", None, None, "", "")
    assert len(made.warnings) == 5
    for knob in ("prompt", "strength", "seed", "quality", "background"):
        assert any(f"acme has no {knob}" in warning for warning in made.warnings)


def test_what_was_left_open_is_no_reason_for_a_warning() -> None:
    assert fitted(VariationRequest(quality="auto", background="auto"), Profile()).warnings == ()


@pytest.mark.parametrize(
    ("rule", "said", "told"),
    [
        (PromptRule.NONE, "", ""),
        (PromptRule.OPTIONAL, "", ""),
        (PromptRule.OPTIONAL, "Warmer.", "Warmer."),
        (PromptRule.REQUIRED, "", DEFAULT_PROMPT),
        (PromptRule.REQUIRED, "  ", DEFAULT_PROMPT),
        (PromptRule.REQUIRED, "Warmer.", "Warmer."),
    ],
)
def test_a_model_that_needs_a_prompt_gets_one(rule: PromptRule, said: str, told: str) -> None:
    assert fitted(VariationRequest(prompt=said), Profile(prompt=rule)).prompt == told


@pytest.mark.parametrize(
    ("offered", "asked"), [((), None), ((ImageFormat.PNG,), None), ((ImageFormat.JPEG,), ImageFormat.JPEG)]
)
def test_a_format_is_asked_for_only_where_it_is_on_offer(
    offered: tuple[ImageFormat, ...], asked: ImageFormat | None
) -> None:
    made = fitted(VariationRequest(output_format=ImageFormat.JPEG), Profile(output_formats=offered))
    assert (made.output_format, made.warnings) == (asked, ())


def test_a_result_of_a_quality_of_our_making_is_asked_for_without_loss() -> None:
    profile = Profile(output_formats=(ImageFormat.PNG, ImageFormat.JPEG))
    plain = VariationRequest(output_format=ImageFormat.JPEG)
    assert fit(plain, profile, provider="p", source=Size(8, 8), default_prompt="").output_format is ImageFormat.JPEG
    reduced = VariationRequest(output_format=ImageFormat.JPEG, output_compression=40)
    assert fit(reduced, profile, provider="p", source=Size(8, 8), default_prompt="").output_format is ImageFormat.PNG
    only_jpeg = Profile(output_formats=(ImageFormat.JPEG,))
    assert fit(reduced, only_jpeg, provider="p", source=Size(8, 8), default_prompt="").output_format is ImageFormat.JPEG


def test_a_part_becomes_a_call() -> None:
    made = fitted(VariationRequest(n=3, seed=7, size=Size(512, 512)), Profile(max_n=2, seed=True))
    call = made.call(made.parts[1], "model-1", SOURCE)
    assert (call.model, call.image, call.n, call.seed, call.size) == ("model-1", SOURCE, 1, 9, Size(512, 512))
