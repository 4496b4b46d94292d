"""``python -m service keys``, on a SQLite store and on a Redis server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from redis_server import RedisServer, redis_process, redis_server  # noqa: F401

from service.cli import main
from service.composition.governance import open_store
from service.config import load
from service.governance.keys import VirtualKey, digest

Run = Callable[..., tuple[int, list[str], str]]

_TEAM = "teams: {pictures: {budgets: [{usd: 5, window: 1d}]}}\n"


@pytest.fixture(params=["sqlite", "redis"])
def config_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    state = f"state_directory: {tmp_path}\n"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        state += f"state: {server.url}\n"
    file = tmp_path / "gateway.yaml"
    file.write_text(state + _TEAM)
    return file


@pytest.fixture
def run(config_file: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a subcommand; returns exit code, lines printed, and what went to standard error."""

    def run_it(*arguments: str) -> tuple[int, list[str], str]:
        code = main(["keys", *arguments, "--config", str(config_file)])
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err

    return run_it


def _stored(config_file: Path) -> list[VirtualKey]:
    async def look() -> list[VirtualKey]:
        store = await open_store(load(config_file, {}))
        try:
            return list(await store.keys())
        finally:
            await store.aclose()

    return asyncio.run(look())


def test_a_key_is_shown_once_and_only_its_hash_is_kept(run: Run, config_file: Path, tmp_path: Path) -> None:
    code, (secret,), said = run("create", "alice")
    assert code == 0
    assert secret.startswith("sk-bf-")
    assert secret not in said
    (key,) = _stored(config_file)
    assert (key.name, key.digest) == ("alice", digest(secret))
    assert secret not in " ".join(run("list")[1] + run("usage")[1])
    for file in tmp_path.iterdir():
        assert secret.encode() not in file.read_bytes()


def test_every_limit_can_be_set(run: Run, config_file: Path) -> None:
    options = "--team pictures --expires 30d --provider openai --provider gem* --model gpt-* --provider-key openai=main"
    limits = (
        "--weight openai=3 --weight gemini=1 --budget 10/1d --budget 99.5/1M:calendar --requests 60/1m --images 5/1h"
    )
    assert run("create", "alice", *options.split(), *limits.split(), "--cache-scope", "team")[0] == 0
    (key,) = _stored(config_file)
    assert key.providers == ("openai", "gem*")
    assert key.provider_keys == {"openai": ("main",)}
    assert key.weights == {"openai": 3.0, "gemini": 1.0}
    assert [str(budget) for budget in key.budgets] == ["$10.00 per 1d", "$99.50 per 1M calendar"]
    assert [str(rate) for rate in key.rates] == ["60 requests per 1m", "5 images per 1h"]
    assert key.expires_at is not None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--team", "gone"], "There is no team 'gone'"),
        (["--budget", "10"], "--budget 10: write USD/WINDOW"),
        (["--budget", "10/2d"], "write USD/WINDOW"),
        (["--budget", "0/1d"], "budgets"),
        (["--budget", "1/1d", "--budget", "2/1d"], "two budgets have the same window"),
        (["--requests", "60/1M"], "--requests 60/1M: write COUNT/WINDOW"),
        (["--weight", "openai"], "write PROVIDER=NUMBER"),
        (["--provider-key", "openai"], "write PROVIDER=NAME"),
        (["--expires", "soon"], "expires: must be a day"),
    ],
)
def test_what_is_wrong_is_told_and_no_key_made(run: Run, config_file: Path, options: list[str], complaint: str) -> None:
    code, printed, said = run("create", "alice", *options)
    assert (code, printed) == (1, [])
    assert complaint in said
    assert _stored(config_file) == []


def test_a_name_is_given_once(run: Run) -> None:
    assert run("create", "alice")[0] == 0
    assert run("create", "alice")[0] == 1
    assert run("create", "two words")[0] == 1


def test_a_disabled_key_says_so(run: Run) -> None:
    run("create", "alice")
    assert run("disable", "alice")[0] == 0
    assert run("list")[1][1].startswith("alice\tdisabled\t")
    assert run("disable", "bob")[0] == 1
    assert run("enable", "alice")[0] == 0
    assert run("list")[1][1].startswith("alice\tenabled\t")
    assert run("delete", "alice")[0] == 0
    assert len(run("list")[1]) == 1
    assert run("delete", "alice")[0] == 1


def test_usage_tells_of_key_and_team(run: Run) -> None:
    run("create", "alice", "--team", "pictures", "--budget", "10/1d", "--images", "5/1h")
    assert run("usage", "alice")[1] == [
        "of\tlimit\tused\tleft\tresets",
        "key alice\t$10.00 per 1d\t$0.00\t$10.00\t-",
        "key alice\t5 images per 1h\t0 images\t5\tsliding",
        "team pictures\t$5.00 per 1d\t$0.00\t$5.00\t-",
    ]
    assert run("usage", "bob")[0] == 1


def test_a_store_that_is_away_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("state: redis://:hush-hush@127.0.0.1:1/0\n")
    assert main(["keys", "list", "--config", str(file)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("The store cannot be used: Redis cannot be used")
    assert "hush" not in said


def test_an_update_changes_what_is_given_and_leaves_the_rest(run: Run, config_file: Path) -> None:
    limits = "--budget 10/1d --requests 60/1m --images 5/1h --model gpt-* --team pictures --expires 30d"
    assert run("create", "alice", *limits.split())[0] == 0
    (before,) = _stored(config_file)
    changes = "--budget 20/1d --budget 99/1M --images 7/1h --without expires"
    code, (said,), _ = run("update", "alice", *changes.split())
    assert (code, said) == (0, "The key 'alice' is updated. Running services go by that within seconds.")
    (after,) = _stored(config_file)
    assert [str(budget) for budget in after.budgets] == ["$20.00 per 1d", "$99.00 per 1M"]
    assert [str(rate) for rate in after.rates] == ["60 requests per 1m", "7 images per 1h"]
    assert (after.digest, after.models, after.team, after.expires_at) == (before.digest, ("gpt-*",), "pictures", None)
    assert run("update", "alice", "--without", "requests", "--without", "model", "--cache-scope", "team")[0] == 0
    (after,) = _stored(config_file)
    assert ([str(rate) for rate in after.rates], after.models) == (["7 images per 1h"], ())
    assert after.cache_scope == "team"


def test_an_update_leaves_a_disabled_key_disabled(run: Run, config_file: Path) -> None:
    assert run("create", "alice")[0] == run("disable", "alice")[0] == run("update", "alice", "--budget", "1/1d")[0] == 0
    (key,) = _stored(config_file)
    assert not key.enabled


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "Say what is to change"),
        (["--team", "gone"], "There is no team 'gone'"),
        (["--budget", "10"], "--budget 10: write USD/WINDOW"),
        (["--budget", "1/1d", "--without", "budget"], "--without budget and --budget cannot both be meant"),
    ],
)
def test_an_update_that_makes_no_sense_changes_nothing(
    run: Run, config_file: Path, options: list[str], complaint: str
) -> None:
    assert run("create", "alice", "--budget", "3/1d")[0] == 0
    code, _, said = run("update", "alice", *options)
    assert (code, complaint in said) == (1, True), said
    assert [str(budget) for budget in _stored(config_file)[0].budgets] == ["$3.00 per 1d"]
    code, _, said = run("update", "bob", "--budget", "1/1d")
    assert (code, said.strip()) == (1, "There is no key named 'bob'.")
