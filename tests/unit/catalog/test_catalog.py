"""The catalog's facts, and how strictly they are read."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path

import pytest

from service.catalog import catalog
from service.catalog.profile import Price, Profile, PromptRule
from service.core.values import ImageFormat, Size
from service.providers.registry import TRANSLATORS

LEAST = """
plain:
  title: Plain
  translator: openai_edits
  base_url: https://plain.test/v1
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
    entry = catalog.parse(LEAST)["plain"]
    assert entry.models["one"] == Profile(max_n=3, seed=True, price=Price(per_image=0.5))


def test_an_unlisted_model_has_the_providers_default_profile_but_no_price_and_no_end() -> None:
    entry = catalog.parse(LEAST.replace("seed: true", "seed: true, sunset: 2027-01-01"))["plain"]
    assert catalog.profile(entry, "of-tomorrow") == Profile(max_n=2, seed=True)


def test_what_costs_nothing_costs_nothing_where_it_is_not_listed() -> None:
    entry = catalog.load()["vllm-omni"]
    assert catalog.profile(entry, "of-tomorrow").price == Price()


def test_what_is_not_free_any_more_has_no_price_until_one_is_said() -> None:
    entry = catalog.load()["vllm-omni"]
    assert catalog.profile(entry, "hosted", {"free": False}).price is None
    assert catalog.profile(entry, "hosted", {"free": False, "price": {"per_image": 0.02}}).price == Price(0.02)
    assert catalog.profile(catalog.load()["openai"], "gpt-image-2", {"free": True}).price == Price()


def test_a_profile_can_be_like_another_one() -> None:
    text = (
        LEAST
        + """
other:
  title: Other
  translator: openai_edits
  default_model: two
  default_profile: {like: plain, max_n: 5}
  models:
    two: {}
    three: {like: plain/one, seed: false}
"""
    )
    models = catalog.parse(text)["other"].models
    assert models["two"] == Profile(max_n=5, seed=True, price=Price(per_image=0.5))
    assert models["three"] == Profile(max_n=3, seed=False, price=Price(per_image=0.5))


@pytest.mark.parametrize("like", ["nobody", "plain/nothing", "plain/one", "3"])
def test_a_profile_is_like_one_that_there_is_and_not_like_itself(like: str) -> None:
    with pytest.raises(ValueError, match="plain/one/like: must name a provider"):
        catalog.parse(LEAST.replace("one: {max_n: 3}", f"one: {{like: {like}}}"))


@pytest.mark.parametrize("name", catalog.load())
def test_every_fact_says_where_it_comes_from_and_when_that_was(name: str) -> None:
    for profile in catalog.load()[name].models.values():
        assert profile.source
        assert profile.checked is not None


@pytest.mark.parametrize(
    ("name", "base_url", "vendors"),
    [
        ("openai", "", True),
        ("openai", "https://api.openai.com/v1", True),
        ("openai", "https://eu.api.openai.com/v1", True),
        ("openai", "https://openai.com.evil.test/v1", False),
        ("openai", "https://notopenai.com/v1", False),
        ("openai", "http://127.0.0.1:9000/v1", False),
        ("azure", "https://mine.openai.azure.com", True),
        ("bfl", "https://api.eu.bfl.ai/v1", True),
        ("bedrock", "https://bedrock-runtime.eu-west-1.amazonaws.com", True),
        ("fal", "https://fal.run", True),
    ],
)
def test_a_vendors_own_addresses_are_known(name: str, base_url: str, vendors: bool) -> None:
    assert catalog.is_vendors(catalog.load()[name], base_url) is vendors


class TestOverlay:
    def test_facts_of_the_operator_go_before_ours(self, tmp_path: Path) -> None:
        file = tmp_path / "facts.yaml"
        file.write_text("openai: {models: {gpt-image-2: {price: {per_image: 0.5}}, gpt-image-9: {max_n: 2}}}")
        ours, theirs = catalog.load()["openai"], catalog.load(file)["openai"]
        assert theirs.models["gpt-image-2"].price == Price(per_image=0.5)
        assert theirs.models["gpt-image-2"].max_n == ours.models["gpt-image-2"].max_n
        assert theirs.models["gpt-image-9"].max_n == 2
        assert set(ours.models) <= set(theirs.models)
        assert set(catalog.load(file)) == set(catalog.load())

    def test_a_provider_of_the_operators_own_is_added(self, tmp_path: Path) -> None:
        file = tmp_path / "facts.yaml"
        file.write_text(LEAST)
        assert list(catalog.load(file))[-1] == "plain"

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [("openai: {modles: {}}", "openai: unknown key 'modles'"), ("[]", "must be a mapping"), ("{", "facts.yaml")],
    )
    def test_what_is_wrong_in_it_is_named(self, text: str, complaint: str, tmp_path: Path) -> None:
        file = tmp_path / "facts.yaml"
        file.write_text(text)
        with pytest.raises(ValueError, match=complaint):
            catalog.load(file)

    def test_a_file_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"none\.yaml: cannot be read"):
            catalog.load(tmp_path / "none.yaml")


def test_overrides_are_laid_over_the_facts_in_either_notation() -> None:
    entry = catalog.parse(LEAST)["plain"]
    written = {"sizes": ["512x512"], "input_formats": ["png"], "prompt": "required", "sunset": date(2027, 1, 1)}
    typed = {"sizes": (Size(512, 512),), "input_formats": (ImageFormat.PNG,), "prompt": PromptRule.REQUIRED}
    made = catalog.profile(entry, "one", {**written, "max_n": 9, "price": None})
    assert (made.max_n, made.seed, made.price) == (9, True, None)
    assert made == catalog.profile(entry, "one", {**written, **typed, "max_n": 9, "price": None})


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"max_m": 2}, "plain/one: unknown key 'max_m'"),
        ({"max_n": 0}, "plain/one/max_n: must be a whole number"),
        ({"max_n": "4"}, "plain/one/max_n: must be a whole number"),
        ({"max_n": True}, "plain/one/max_n: must be a whole number"),
        ({"seed": "yes"}, "plain/one/seed: must be true or false"),
        ({"notes": 7}, "plain/one/notes: must be text"),
        ({"sizes": ["1024"]}, "plain/one/sizes: must be WIDTHxHEIGHT"),
        ({"sizes": ["0x9"]}, "plain/one/sizes: must be a whole number"),
        ({"sizes": "1024x1024"}, "plain/one/sizes: must be a list"),
        ({"input_formats": ["bmp"]}, "plain/one/input_formats: must be a list of png, jpeg, webp, gif"),
        ({"input_formats": []}, "plain/one/input_formats: at least one"),
        ({"prompt": "perhaps"}, "plain/one/prompt: must be none, optional or required"),
        ({"price": {"per_picture": 1}}, "plain/one/price: unknown key 'per_picture'"),
        ({"price": {"per_image": -1}}, "plain/one/price/per_image: must be an amount"),
        ({"price": {"per_image": float("nan")}}, "plain/one/price/per_image: must be an amount"),
        ({"sunset": "2026-12-01"}, "plain/one/sunset: must be a date"),
        ({"min_side": 100, "max_side": 90}, "plain/one: no size satisfies"),
        ({"min_pixels": 999, "max_pixels": 998}, "plain/one: no size satisfies"),
        ({"min_side": 1000, "max_pixels": 999}, "plain/one: no size satisfies"),
        ({"size_multiple": 4097}, "plain/one: no size satisfies"),
    ],
)
def test_wrong_facts_are_named(wrong: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        catalog.profile(catalog.parse(LEAST)["plain"], "one", wrong)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("title:", "tilte:", "plain: unknown key 'tilte'"),
        ("  title: Plain\n", "", "plain: title is missing"),
        ("default_model: one", "default_model: two", "default_model 'two' is not among its models"),
        ("https://plain.test/v1", "https://plain.test/", "plain/base_url: must be an http"),
        ("https://plain.test/v1", "ftp://plain.test", "plain/base_url: must be an http"),
        ("max_n: 2", "max_n: 2, max_n: 3", "the key 'max_n' is repeated"),
        (
            "translator: openai_edits",
            "translator: openai_edits\n  options: {steps: 20}",
            "plain/options/steps: must be text",
        ),
        (
            "translator: openai_edits",
            "translator: openai_edits\n  trusted_hosts: a.test",
            "plain/trusted_hosts: must be a list",
        ),
        (
            "translator: openai_edits",
            "translator: openai_edits\n  variables: {secrets: [A]}",
            "plain/variables: unknown key 'secrets'",
        ),
        ("{max_n: 3}", "[1]", "plain/one: must be a mapping"),
        ("plain:", "plain: [", "catalog: "),
        ("one: {max_n: 3}", "1: {max_n: 3}", "plain/models: must be a mapping with text keys"),
        ("plain:", "!!python/object/apply:os.getcwd []:", "catalog: "),
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
