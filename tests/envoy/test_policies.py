"""An operator's decisions about failures: resting targets that keep failing, and showing refused pictures around."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway_of_doubles import FALLBACK, Caller, asked, attempts, gateway_of_doubles, pictures, section, told_maker
from running_gateway import RunningGateway

from tests.doubles.server import DoublesServer

MODEL = "gpt-image-2"
# Long enough for two requests on a busy machine, since the first tests look at what happens before it is over.
FAILURES, COOLDOWN_S = 3, 1.2


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, doubles_process: DoublesServer) -> Iterator[RunningGateway]:
    names = ("opens", "recovers", "relapses", "innocent", "split", "refusing")
    one_a_call: dict[str, Any] = {"models": {MODEL: {"max_n": 1}}}
    providers = {name: section(doubles_process, "openai", **one_a_call) for name in names}
    with gateway_of_doubles(
        tmp_path_factory.mktemp("gateway"),
        doubles_process,
        providers,
        breaker={"failures": FAILURES, "cooldown": f"{COOLDOWN_S}s"},
        fall_back_when_rejected=True,
    ) as running:
        yield running


@pytest.fixture
def caller(gateway: RunningGateway, doubles: DoublesServer, small_png: bytes) -> Iterator[Caller]:
    caller = Caller(gateway, doubles, small_png)
    with caller.client:
        yield caller


@pytest.fixture
def opened(caller: Caller, doubles: DoublesServer) -> Callable[[str], None]:
    """Lets a target fail until it is given a rest."""

    def fail_often(provider: str) -> None:
        doubles.state.fail("openai", "server_error")
        for _ in range(FAILURES):
            assert caller.ask(f"{provider}/{MODEL}").status_code == 502
        assert asked(doubles) == ["openai"] * FAILURES

    return fail_often


def wait_for_the_cooldown() -> None:
    time.sleep(COOLDOWN_S)  # noqa: TID251 - the time that is configured, which passes in another process


def test_a_target_that_keeps_failing_is_not_asked_any_more(
    caller: Caller,
    doubles: DoublesServer,
    opened: Callable[[str], None],
) -> None:
    opened("opens")
    answer = caller.ask(f"opens/{MODEL}", FALLBACK)
    assert told_maker(answer)[0::2] == ("deepinfra", 1)
    assert attempts(answer) == [("opens", "unavailable", None), ("deepinfra", "success", 200)]
    alone = caller.ask(f"opens/{MODEL}")
    assert (alone.status_code, alone.json()["error"]["code"]) == (503, "circuit_open")
    assert alone.headers["retry-after"] in ("1", "2")
    assert asked(doubles) == ["openai"] * FAILURES + ["deepinfra"]
    # Only this one rests: the same vendor under another name is asked.
    assert attempts(caller.ask(f"innocent/{MODEL}", FALLBACK))[0] == ("innocent", "unavailable", 500)


def test_after_the_rest_one_try_decides_that_it_is_well(
    caller: Caller,
    doubles: DoublesServer,
    opened: Callable[[str], None],
) -> None:
    opened("recovers")
    doubles.state.switches.clear("openai")
    wait_for_the_cooldown()
    for _ in range(2):
        assert told_maker(caller.ask(f"recovers/{MODEL}", FALLBACK))[0] == "recovers"


def test_after_the_rest_one_try_decides_that_it_is_not(
    caller: Caller,
    doubles: DoublesServer,
    opened: Callable[[str], None],
) -> None:
    opened("relapses")
    wait_for_the_cooldown()
    first, second = (caller.ask(f"relapses/{MODEL}") for _ in range(2))
    assert first.json()["error"]["code"] == "provider_unavailable"
    assert second.json()["error"]["code"] == "circuit_open"
    assert asked(doubles) == ["openai"] * (FAILURES + 1)


def test_the_one_try_after_the_rest_may_take_many_calls(
    caller: Caller,
    doubles: DoublesServer,
    opened: Callable[[str], None],
) -> None:
    opened("split")
    doubles.state.switches.clear("openai")
    wait_for_the_cooldown()
    answer = caller.ask(f"split/{MODEL}", n="5")
    assert len(pictures(answer)) == 5
    assert attempts(answer) == [("split", "success", 200)] * 5


@pytest.mark.parametrize("failure", ["rate_limited", "unauthenticated", "model_gone", "refusal"])
def test_what_is_not_the_target_s_ill_health_gives_it_no_rest(
    failure: str,
    caller: Caller,
    doubles: DoublesServer,
) -> None:
    doubles.state.fail("openai", failure)
    codes = [caller.ask(f"innocent/{MODEL}").json()["error"]["code"] for _ in range(FAILURES + 1)]
    assert "circuit_open" not in codes


@pytest.mark.parametrize("fallback_refuses", [False, True])
def test_a_refused_picture_is_shown_to_the_next_where_the_operator_says_so(
    fallback_refuses: bool,
    caller: Caller,
    doubles: DoublesServer,
) -> None:
    doubles.state.fail("openai", "refusal")
    if fallback_refuses:
        doubles.state.fail("deepinfra", "refusal")
    answer = caller.ask(f"refusing/{MODEL}", FALLBACK)
    assert asked(doubles) == ["openai", "deepinfra"]
    if fallback_refuses:
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_rejected")
    else:
        assert attempts(answer) == [("refusing", "content_rejected", 400), ("deepinfra", "success", 200)]
