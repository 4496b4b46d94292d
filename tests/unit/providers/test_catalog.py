"""The catalog's facts, and how strictly they are read."""

from __future__ import annotations

import dataclasses
from datetime import date

import pytest

from service.core.values import ImageFormat, Size
from service.providers import catalog
from service.providers.base import Price, Profile, PromptRule
from service.providers.registry import TRANSLATORS

LEAST = """
acme:
  title: Acme
  translator: openai_edits
  base_url: https://acme.test/v1
  default_model: one
  default_profile: {max_n: 2, seed: true, price: {per_image: 0.5}}
  models:
    one: {max_n: 3}
"""


def test_every_provider_is_spoken_to_by_a_translator_there_is() -> None:
    entries = catalog.load()
    assert {entry.translator for entry in entries.values()} == {*TRANSLATORS, catalog.EMBEDDED_TRANSLATOR}
    expected = (
        "local openai azure deepinfra gemini vertex recraft fal replicate bfl stability bedrock ideogram xai sdapi"
    )
    assert {*expected.split(), "vllm-omni", "sdcpp", "aquiles"} <= set(entries)


def test_the_embedded_engine_is_free_and_takes_any_size_the_contract_names() -> None:
    entry = catalog.load()["local"]
    assert list(entry.models) == ["vary", "recompose", "relight", "restyle"]
    for profile in entry.models.values():
        assert profile.free
        assert profile.price == Price()
        assert (profile.max_n, profile.seed, profile.strength, profile.prompt) == (10, True, True, PromptRule.NONE)
        assert (profile.min_side, profile.max_side, profile.sizes) == (64, 1792, ())


@pytest.mark.parametrize("name", catalog.load())
def test_models_make_sense(name: str) -> None:
    entry = catalog.load()[name]
    for profile in (entry.default_profile, *entry.models.values()):
        assert profile.input_formats
        assert profile.max_input_bytes >= 100_000
        assert profile.min_input_side <= profile.max_input_side
        assert profile.min_input_pixels <= profile.max_input_pixels
        if profile.free:
            assert profile.price == Price()


def test_a_model_inherits_what_it_does_not_say() -> None:
    entry = catalog.parse(LEAST)["acme"]
    assert entry.models["one"] == Profile(max_n=3, seed=True, price=Price(per_image=0.5))


def test_an_unlisted_model_has_the_providers_default_profile() -> None:
    entry = catalog.parse(LEAST)["acme"]
    assert catalog.profile(entry, "of-tomorrow") == entry.default_profile


def test_overrides_are_laid_over_the_facts_in_either_notation() -> None:
    entry = catalog.parse(LEAST)["acme"]
    written = {"sizes": ["512x512"], "input_formats": ["png"], "prompt": "required", "sunset": date(2027, 1, 1)}
    typed = {"sizes": (Size(512, 512),), "input_formats": (ImageFormat.PNG,), "prompt": PromptRule.REQUIRED}
    made = catalog.profile(entry, "one", {**written, "max_n": 9, "price": None})
    assert (made.max_n, made.seed, made.price) == (9, True, None)
    assert made == catalog.profile(entry, "one", {**written, **typed, "max_n": 9, "price": None})


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"max_m": 2}, "acme/one: unknown key 'max_m'"),
        ({"max_n": 0}, "acme/one/max_n: must be a whole number"),
        ({"max_n": "4"}, "acme/one/max_n: must be a whole number"),
        ({"max_n": True}, "acme/one/max_n: must be a whole number"),
        ({"seed": "yes"}, "acme/one/seed: must be true or false"),
        ({"notes": 7}, "acme/one/notes: must be text"),
        ({"sizes": ["1024"]}, "acme/one/sizes: must be WIDTHxHEIGHT"),
        ({"sizes": ["0x9"]}, "acme/one/sizes: must be a whole number"),
        ({"sizes": "1024x1024"}, "acme/one/sizes: must be a list"),
        ({"input_formats": ["bmp"]}, "acme/one/input_formats: must be a list of png, jpeg, webp, gif"),
        ({"input_formats": []}, "acme/one/input_formats: at least one"),
        ({"prompt": "perhaps"}, "acme/one/prompt: must be none, optional or required"),
        ({"price": {"per_picture": 1}}, "acme/one/price: unknown key 'per_picture'"),
        ({"price": {"per_image": -1}}, "acme/one/price/per_image: must be an amount"),
        ({"price": {"per_image": float("nan")}}, "acme/one/price/per_image: must be an amount"),
        ({"sunset": "2026-12-01"}, "acme/one/sunset: must be a date"),
        ({"min_side": 100, "max_side": 90}, "acme/one: no size satisfies"),
        ({"min_side": 1000, "max_pixels": 999}, "acme/one: no size satisfies"),
        ({"size_multiple": 4097}, "acme/one: no size satisfies"),
    ],
)
def test_wrong_facts_are_named(wrong: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        catalog.profile(catalog.parse(LEAST)["acme"], "one", wrong)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("title:", "tilte:", "acme: unknown key 'tilte'"),
        ("  title: Acme\n", "", "acme: title is missing"),
        ("default_model: one", "default_model: two", "default_model 'two' is not among its models"),
        ("https://acme.test/v1", "https://acme.test/", "acme/base_url: must be an http"),
        ("https://acme.test/v1", "ftp://acme.test", "acme/base_url: must be an http"),
        ("max_n: 2", "max_n: 2, max_n: 3", "the key 'max_n' is repeated"),
        (
            "translator: openai_edits",
            "translator: openai_edits\n  options: {steps: 20}",
            "acme/options/steps: must be text",
        ),
        (
            "translator: openai_edits",
            "translator: openai_edits\n  trusted_hosts: a.test",
            "acme/trusted_hosts: must be a list",
        ),
        (
            "translator: openai_edits",
            "translator: openai_edits\n  variables: {secrets: [A]}",
            "acme/variables: unknown key 'secrets'",
        ),
        ("{max_n: 3}", "[1]", "acme/one: must be a mapping"),
        ("acme:", "acme: [", "catalog: "),
        ("one: {max_n: 3}", "1: {max_n: 3}", "acme/models: must be a mapping with text keys"),
        ("acme:", "!!python/object/apply:os.getcwd []:", "catalog: "),
    ],
)
def test_a_wrong_catalog_is_refused(old: str, new: str, complaint: str) -> None:
    assert old in LEAST
    with pytest.raises(ValueError, match=complaint):
        catalog.parse(LEAST.replace(old, new))


def test_entries_cannot_be_changed() -> None:
    entries = catalog.load()
    with pytest.raises(TypeError):
        entries["openai"] = entries["azure"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        entries["openai"].base_url = "https://evil.test"  # type: ignore[misc]
