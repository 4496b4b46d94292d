"""Keys, teams, tokens, and who may listen where."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.config import Config, describe
from service.governance.budgets import Budget
from service.governance.keys import digest, digest_text
from service.governance.rates import Counts, Rate
from service.governance.windows import Span, Window

Load = Callable[..., Config]
Problems = Callable[..., list[str]]

_SECRET = "sk-bf-" + "s" * 43


def test_a_key_is_read_and_only_its_hash_handed_on(load_text: Load) -> None:
    config = load_text(
        """
        teams: {pictures: {budgets: [{usd: 5, window: 1w}], rate_limits: [{images: 10, window: 1h}]}}
        keys:
          - name: alice
            env: ALICE
            expires: 2027-01-31
            team: pictures
            models: [gpt-*]
            budgets: [{usd: 0.5, window: 1M, aligned: true}]
            rate_limits: [{requests: 6, window: 1m}]
        """,
        {"ALICE": _SECRET},
    )
    (key,) = config.access.keys
    assert key.digest == digest(_SECRET)
    assert key.expires_at == datetime(2027, 1, 31, tzinfo=UTC)
    assert key.budgets == (Budget(0.5, Window(Span.MONTH, aligned=True)),)
    assert key.rates == (Rate(Counts.REQUESTS, 6, 60),)
    assert config.access.teams["pictures"].rates == (Rate(Counts.IMAGES, 10, 3600),)
    for shown in (repr(config), describe(config), repr(config.access)):
        assert _SECRET not in shown


def test_a_hash_is_as_good_as_the_secret(load_text: Load) -> None:
    config = load_text(f"keys: [{{name: a, hash: '{digest_text(digest(_SECRET))}'}}]")
    assert config.access.keys[0].digest == digest(_SECRET)


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("{name: a}", "needs one of value, env"),
        (f"{{name: a, value: {_SECRET}, env: X}}", "needs one of value, env"),
        ("{name: a, env: NOT_SET}", "the environment variable NOT_SET is not set"),
        ("{name: a, value: sk-bf-short}", "at least 24 characters"),
        ("{name: a, value: " + "x" * 40 + "}", "starts with sk-bf-"),
        ("{name: a, hash: 'sha256:12'}", "must be sha256: and 64 hexadecimal digits"),
        ("{name: 'a b', value: " + _SECRET + "}", "only letters, digits"),
        (f"{{name: a, value: {_SECRET}, team: gone}}", "there is no team 'gone'"),
        (f"{{name: a, value: {_SECRET}, weights: {{opena: 1}}}}", "did you mean 'openai'?"),
        (f"{{name: a, value: {_SECRET}, weights: {{openai: -1}}}}", "at least 0"),
        (f"{{name: a, value: {_SECRET}, expires: soon}}", "must be a day such as"),
        (
            f"{{name: a, value: {_SECRET}, budgets: [{{usd: 1, window: 2d}}]}}",
            "must be one of '1h', '1d', '1w' or '1M'",
        ),
        (f"{{name: a, value: {_SECRET}, budgets: [{{usd: 0, window: 1d}}]}}", "greater than 0"),
        (
            f"{{name: a, value: {_SECRET}, budgets: [{{usd: 1, window: 1d}}, {{usd: 2, window: 1d}}]}}",
            "two budgets have the same window",
        ),
        (f"{{name: a, value: {_SECRET}, rate_limits: [{{window: 1m}}]}}", "either requests or images"),
        (f"{{name: a, value: {_SECRET}, rate_limits: [{{requests: 1, images: 1, window: 1m}}]}}", "either requests"),
        (f"{{name: a, value: {_SECRET}, rate_limits: [{{requests: 1, window: 1M}}]}}", "months are for budgets"),
        (f"{{name: a, value: {_SECRET}, rate_limits: [{{requests: 1, window: 1500ms}}]}}", "whole seconds"),
    ],
)
def test_what_is_wrong_with_a_key_is_told_without_the_key(problems_of: Problems, key: str, complaint: str) -> None:
    (problem,) = problems_of(f"keys:\n  - {key}")
    assert problem.startswith("2 keys[0]")
    assert complaint in problem
    assert _SECRET not in problem


def test_names_and_secrets_are_given_once(problems_of: Problems) -> None:
    problems = problems_of(
        f"""
        keys: [{{name: a, value: {_SECRET}}}, {{name: a, value: {_SECRET}}}]
        tokens: [{{name: a, hash: '{digest_text(digest(_SECRET))}'}}]
        """
    )
    assert [problem.partition(" ")[2] for problem in problems] == [
        "keys[1].name: 'a' is there twice",
        "keys[1]: has the same secret as keys[0]",
        "tokens[0]: has the same secret as keys[0]",
    ]


def test_a_virtual_key_is_no_token(problems_of: Problems) -> None:
    (problem,) = problems_of(f"tokens: [{{name: a, value: {_SECRET}}}]")
    assert "put it under keys" in problem


def test_provider_keys_have_to_exist(problems_of: Problems) -> None:
    (problem,) = problems_of(
        f"""
        providers: {{openai: {{keys: [{{name: main, value: abcdefgh}}]}}}}
        keys: [{{name: a, value: {_SECRET}, provider_keys: {{openai: [man]}}}}]
        """
    )
    assert "openai has no key 'man'; did you mean 'main'?" in problem


@pytest.mark.parametrize(
    ("text", "required"),
    [
        ("", None),
        ("listen: {http: '0.0.0.0:8080'}", True),
        ("listen: {grpc: '[::]:50051'}", True),
        ("{listen: {http: '0.0.0.0:8080'}, allow_unauthenticated: true}", None),
        ("require_auth: true", True),
        ("require_auth: false", False),
        ("{require_auth: false, allow_unauthenticated: true, listen: {http: '0.0.0.0:8080'}}", False),
    ],
)
def test_others_than_this_machine_need_a_credential(load_text: Load, text: str, required: bool | None) -> None:
    assert load_text(text).access.required is required


def test_an_open_door_to_the_world_has_to_be_meant(problems_of: Problems) -> None:
    (problem,) = problems_of("{listen: {http: '0.0.0.0:8080'}, require_auth: false}")
    assert "allow_unauthenticated: true" in problem


@pytest.mark.parametrize(
    ("state", "location"),
    [
        ("", Path("/state/governance.sqlite3")),
        ("state: other.db", Path("/state/other.db")),
        ("state: /data/g.db", Path("/data/g.db")),
        ("state: 'redis://:secret@host:6379/1'", "redis://:secret@host:6379/1"),
        ("state: 'redis+cluster://a:6379,b:6379'", "redis+cluster://a:6379,b:6379"),
        ("state: 'rediss+sentinel://a,b/main/0'", "rediss+sentinel://a,b/main/0"),
    ],
)
def test_state_is_kept_in_a_file_or_on_a_server(load_text: Load, state: str, location: Path | str) -> None:
    config = load_text(state, {"STATE_DIRECTORY": "/state"})
    assert config.state_location == location
    assert ":secret@" not in describe(config) + repr(config)


@pytest.mark.parametrize("state", ["http://x", "redis://", "memcached://:secret@h"])
def test_other_states_are_refused_unseen(problems_of: Problems, state: str) -> None:
    (problem,) = problems_of(f"state: '{state}'")
    assert "must be a file, or a URL" in problem
    assert "secret" not in problem
