from __future__ import annotations

from collections.abc import Callable

import pytest

from service.config import Config, parse_target
from service.core.values import Target

Load = Callable[..., Config]
Problems = Callable[..., list[str]]


def models(config: Config, alias: str) -> list[tuple[str, float]]:
    return [(target.model, target.weight) for target in config.aliases[alias].targets]


def test_a_model_may_hold_slashes() -> None:
    assert parse_target("fal/fal-ai/flux-1/dev") == Target("fal", "fal-ai/flux-1/dev")


@pytest.mark.parametrize("text", ["", "/", "a/", "/b", "a"])
def test_other_texts_are_no_target(text: str) -> None:
    assert parse_target(text) is None


def test_the_original_model_stands_for_the_default_route(load_text: Load) -> None:
    assert models(load_text("default_route: local/relight"), "dall-e-2") == [("local/relight", 1.0)]


def test_the_shipped_alias_can_be_replaced(load_text: Load) -> None:
    assert models(load_text("aliases: {dall-e-2: local/restyle}"), "dall-e-2") == [("local/restyle", 1.0)]


def test_an_alias_is_a_text_a_list_or_a_section(load_text: Load) -> None:
    config = load_text(
        """
aliases:
  one: local/vary
  two: [local/vary, local/relight]
  shared: {policy: weighted, targets: [{model: local/vary, weight: 3}, local/relight]}
"""
    )
    assert models(config, "one") == [("local/vary", 1.0)]
    assert models(config, "two") == [("local/vary", 1.0), ("local/relight", 1.0)]
    assert config.aliases["two"].policy == "order"
    assert config.aliases["shared"].policy == "weighted"
    weighted = config.aliases["shared"].weighted_targets
    assert [(target.target, target.weight) for target in weighted] == [
        (Target("local", "vary"), 3.0),
        (Target("local", "relight"), 1.0),
    ]


def test_an_alias_of_an_alias_is_resolved_and_shares_its_weight(load_text: Load) -> None:
    config = load_text(
        """
aliases:
  half: {policy: weighted, targets: [local/vary, local/relight]}
  all: {policy: weighted, targets: [{model: half, weight: 4}, local/restyle]}
"""
    )
    assert models(config, "all") == [("local/vary", 2.0), ("local/relight", 2.0), ("local/restyle", 1.0)]


def test_a_single_alias_keeps_the_policy_of_what_it_names(load_text: Load) -> None:
    config = load_text("default_route: w\naliases: {w: {policy: weighted, targets: [local/vary, local/relight]}}")
    assert config.aliases["dall-e-2"].policy == "weighted"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("default_route: dall-e-2", ["1 default_route: the alias leads back to itself: dall-e-2 -> dall-e-2"]),
        ("default_route: nope", ["1 default_route: 'nope' is neither provider/model nor an alias"]),
        (
            "default_route: bets\naliases: {best: local/vary}",
            ["1 default_route: 'bets' is neither provider/model nor an alias; did you mean 'best'?"],
        ),
        (
            "aliases:\n  a: b\n  b: [local/vary, a]\n",
            [
                "2 aliases.a: the alias leads back to itself: b -> a -> b",
                "3 aliases.b[1]: the alias leads back to itself: a -> b -> a",
            ],
        ),
        (
            "aliases:\n  x: [local/vary,\n    lokal/vary,\n    opena/x]\n",
            [
                "3 aliases.x[1]: there is no provider 'lokal'; did you mean 'local'?",
                "4 aliases.x[2]: there is no provider 'opena'; did you mean 'openai'?",
            ],
        ),
        ("aliases: {a/b: local/vary}", ["1 aliases.a/b: the name of an alias must be printable and without a slash"]),
        ("aliases: {a: []}", ["1 aliases.a: needs at least 1"]),
        (
            "aliases: {a: {targets: [{modle: x}]}}",
            ["1 aliases.a.targets[0].model: is required", "1 aliases.a.targets[0].modle"],
        ),
        (
            "aliases: {a: {targets: [{model: local/vary, weight: -1}]}}",
            ["1 aliases.a.targets[0].weight: must be at least 0"],
        ),
        (
            "aliases:\n  w: {policy: weighted, targets: [local/vary, local/relight]}\n  o: [w, local/vary]\n",
            ["3 aliases.o[0]: 'w' has another policy, so it cannot be one of several targets"],
        ),
    ],
)
def test_routes_that_lead_nowhere_are_explained(problems_of: Problems, text: str, problems: list[str]) -> None:
    found = problems_of(text)
    assert len(found) == len(problems), found
    for problem, start in zip(found, problems, strict=True):
        assert problem.startswith(start)


def test_aliases_that_double_at_every_level_are_stopped(problems_of: Problems) -> None:
    text = "aliases:\n  a0: [local/vary, local/relight]\n" + "".join(
        f"  a{level}: [a{level - 1}, a{level - 1}]\n" for level in range(1, 30)
    )
    assert any("stands for more than 32 targets" in problem for problem in problems_of(text))


def test_a_known_provider_without_a_key_is_a_warning_not_an_error(load_text: Load) -> None:
    text = "aliases: {best: [openai/gpt-image-2, local/vary]}"
    (warning,) = load_text(text).warnings
    assert warning.startswith("the alias 'best' leads to openai/gpt-image-2, but there is no providers.openai")
    assert "OPENAI_API_KEY" in warning
    assert load_text(text, {"OPENAI_API_KEY": "k"}).warnings == ()


def test_a_default_route_to_an_engine_that_is_off_is_a_warning(load_text: Load) -> None:
    assert "engine.enabled" in load_text("engine: {enabled: false}").warnings[0]
