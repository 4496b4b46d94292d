from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date

import pytest

from service.catalog import catalog
from service.catalog.profile import Price, Profile, PromptRule
from service.config import Config, ProfileOverrides
from service.config.providers import PriceOverrides
from service.core.values import Size

Load = Callable[..., Config]
Problems = Callable[..., list[str]]


def test_a_vendors_usual_variable_is_all_it_takes(load_text: Load) -> None:
    provider = load_text("", {"OPENAI_API_KEY": "sk-1\n"}).providers["openai"]
    assert provider.type == "openai"
    assert provider.keys[0].name == "OPENAI_API_KEY"
    assert provider.keys[0].credential.secret == "sk-1"


def test_several_variables_may_make_one_credential(load_text: Load) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1"}
    provider = load_text("", environment).providers["bedrock"]
    assert provider.keys[0].credential.parts == {"access_key_id": "id", "secret_access_key": "secret"}
    assert provider.options["region"] == "eu-west-1"


@pytest.mark.parametrize(
    "environment", [{"AWS_ACCESS_KEY_ID": "id"}, {"AZURE_OPENAI_API_KEY": "k"}, {"OPENAI_API_KEY": " "}]
)
def test_half_of_what_is_needed_makes_no_provider(load_text: Load, environment: dict[str, str]) -> None:
    assert not load_text("", environment).providers


def test_azure_takes_its_address_from_the_environment_too(load_text: Load, problems_of: Problems) -> None:
    environment = {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com/"}
    assert load_text("", environment).providers["azure"].base_url == "https://mine.openai.azure.com"
    assert problems_of("", {**environment, "AZURE_OPENAI_ENDPOINT": "mine"}) == [
        "0 providers.azure.base_url: must be a URL such as https://api.example.com/v1, got 'mine'"
    ]


def test_a_section_without_keys_takes_the_usual_variable(load_text: Load) -> None:
    provider = load_text("providers: {mine: {type: openai, timeout: 9s}}", {"OPENAI_API_KEY": "sk-1"}).providers["mine"]
    assert provider.keys[0].credential.secret == "sk-1"
    assert provider.timeout == 9.0


def test_a_key_from_the_shell_is_not_sent_to_an_address_from_the_file(load_text: Load) -> None:
    config = load_text(
        "providers: {mine: {type: openai, base_url: 'http://127.0.0.1:1/v1'}}", {"OPENAI_API_KEY": "sk-1"}
    )
    assert config.providers["mine"].keys == ()


def test_a_disabled_provider_is_not_revived_by_the_environment(load_text: Load) -> None:
    provider = load_text("providers: {openai: {enabled: false}}", {"OPENAI_API_KEY": "sk-1"}).providers["openai"]
    assert not provider.enabled
    assert provider.keys == ()


def test_keys_are_text_a_variable_or_a_section(load_text: Load) -> None:
    config = load_text(
        """
providers:
  fal:
    keys:
      - plain
      - ${KEY}
      - {env: KEY, name: named, weight: 0, models: [a]}
""",
        {"KEY": "0123"},
    )
    keys = config.providers["fal"].keys
    assert [(key.name, key.credential.secret) for key in keys] == [
        ("key-1", "plain"),
        ("key-2", "0123"),
        ("named", "0123"),
    ]
    assert keys[2].weight == 0
    assert keys[2].models == ("a",)


def test_what_is_wrong_with_keys_is_told_without_showing_them(problems_of: Problems) -> None:
    problems = problems_of(
        """
providers:
  openai:
    api_key: sk-hush
    keys: sk-hush
    base_url: https://u:sk-hush@x
  fal:
    keys:
      - sk-hush sk
      - {value: "sk\\nhush"}
      - {value: sk-hush, env: KEY}
      - {env: MISSING}
      - {name: b}
      - 12345
      - {value: 12345}
    headers: {Authorization: sk-hush, "b c": sk-hush, X-A: "a\\r\\nb: sk-hush"}
"""
    )
    assert not any("hush" in problem or "12345" in problem for problem in problems)
    assert [problem.split(": ")[0] for problem in problems] == [
        "4 providers.openai.api_key",
        "5 providers.openai.keys",
        "6 providers.openai.base_url",
        "10 providers.fal.keys[1].value",
        "11 providers.fal.keys[2]",
        "12 providers.fal.keys[3]",
        "13 providers.fal.keys[4]",
        "14 providers.fal.keys[5]",
        "15 providers.fal.keys[6].value",
        "16 providers.fal.headers.Authorization",
        "16 providers.fal.headers.b c",
        "16 providers.fal.headers.X-A",
    ]


def test_secrets_are_in_no_representation(load_text: Load) -> None:
    config = load_text("providers: {fal: {keys: [sk-hush], headers: {X-A: sk-hush}}}", {"OPENAI_API_KEY": "sk-hush"})
    assert "hush" not in repr(config) + str(config) + repr(config.document) + str(config.model_dump())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("providers: {local: {}}", "1 providers.local: is the embedded engine; its settings are under engine"),
        (
            "providers: {opnai: {}}",
            "1 providers.opnai: 'opnai' is not a known type of provider, and no type is given; did",
        ),
        (
            "providers: {a: {type: opnai}}",
            "1 providers.a.type: 'opnai' is not a known type of provider; did you mean 'op",
        ),
        ("providers: {azure: {keys: [k]}}", "1 providers.azure: needs a base_url"),
        ("providers: {a/b: {type: fal}}", "1 providers.a/b: a provider's name has lower-case letters"),
        ("providers: {fal: {trusted_hosts: ['*.x']}}", "1 providers.fal.trusted_hosts[0]: must be a host name"),
        (
            "providers: {fal: {keys: [{name: a, value: x}, {name: a, value: y}]}}",
            "1 providers.fal: two keys are named 'a'",
        ),
        ("providers: {fal: {options: {a: 1}}}", "1 providers.fal.options.a: must be text; put it in quotes, got 1"),
    ],
)
def test_mistakes_in_providers_are_explained(problems_of: Problems, text: str, problem: str) -> None:
    assert problems_of(text)[0].startswith(problem)


def test_facts_about_models_are_typed_and_leave_the_others_to_the_catalog(load_text: Load) -> None:
    text = """
providers:
  fal:
    models:
      m: {max_n: 3, sizes: [512x256], prompt: required, sunset: 2026-12-01, price: {per_image: 0.5}}
"""
    facts = load_text(text).providers["fal"].models["m"].facts
    made = catalog.profile(catalog.load()["fal"], "m", facts)
    assert (made.max_n, made.sizes, made.prompt) == (3, (Size(512, 256),), PromptRule.REQUIRED)
    assert (made.sunset, made.price) == (date(2026, 12, 1), Price(per_image=0.5))
    assert made.seed == catalog.load()["fal"].default_profile.seed


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ("{max_m: 1}", "models.m.max_m: is not a setting; did you mean 'max_n'?"),
        ("{max_n: 0}", "models.m.max_n: must be at least 1, got 0"),
        ("{sizes: [1x]}", "models.m.sizes[0]: must be WIDTHxHEIGHT in pixels, such as 1024x1024, got '1x'"),
        ("{prompt: perhaps}", "models.m.prompt: must be one of 'none', 'optional' or 'required', got 'perhaps'"),
        ("{sunset: 2026-13-01}", "models.m.sunset: must be a date written YYYY-MM-DD, got '2026-13-01'"),
        ("{price: {per_imag: 1}}", "models.m.price.per_imag: is not a setting; did you mean 'per_image'?"),
        ("{min_side: 4000, max_side: 100}", "models.m: makes no sense: "),
    ],
)
def test_wrong_facts_are_explained(problems_of: Problems, facts: str, problem: str) -> None:
    assert problems_of(f"providers: {{fal: {{models: {{m: {facts}}}}}}}")[0].startswith(f"1 providers.fal.{problem}")


def test_every_fact_of_a_profile_can_be_overridden() -> None:
    assert list(ProfileOverrides.model_fields) == [field.name for field in dataclasses.fields(Profile)]
    assert list(PriceOverrides.model_fields) == [field.name for field in dataclasses.fields(Price)]
