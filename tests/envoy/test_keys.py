"""Which of a provider's keys is used, which one rests, and that no key ever goes where it does not belong.

The ``doubles`` fixture fails a test when a double was sent another vendor's key; ``Caller`` when an answer holds one;
``gateway_of_doubles`` when a log does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gateway_of_doubles import FALLBACK, Caller, attempts, gateway_of_doubles, section, told_maker
from running_gateway import RunningGateway

from tests.doubles.server import DoublesServer

MODEL, OTHER_MODEL = "gpt-image-2", "gpt-image-1.5"
FIRST, SECOND = "double-key-one-of-openai", "double-key-two-of-openai"
STRANGERS_KEY = "sk-strangers-key-that-no-provider-knows"
# A key of weight 0 is used only when no other can be, so that each test knows which one comes first.
TWO_KEYS = [{"name": "main", "value": FIRST}, {"name": "spare", "value": SECOND, "weight": 0}]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, doubles_process: DoublesServer) -> Iterator[RunningGateway]:
    cases = (
        "limited",
        "refused",
        "out-of-credit",
        "forbidden",
        "all-refused",
        "all-limited",
        "direct",
        "refused-direct",
    )
    providers: dict[str, Any] = {case: section(doubles_process, "openai", keys=2) for case in cases}
    for provider in providers.values():
        provider["keys"] = TWO_KEYS
    by_model = [{"name": "old", "value": FIRST, "models": [OTHER_MODEL]}, {"name": "new", "value": SECOND}]
    providers["by-model"] = {**providers["direct"], "keys": by_model}
    providers["keyless"] = {**providers["direct"], "keys": []}
    providers["signed"] = section(doubles_process, "bedrock-signed", type="bedrock")
    with gateway_of_doubles(
        tmp_path_factory.mktemp("gateway"),
        doubles_process,
        providers,
        allow_direct_keys=True,
        aliases={"mine": f"direct/{MODEL}"},
        log={"level": "debug"},
    ) as running:
        yield running
        assert STRANGERS_KEY not in running.log


@pytest.fixture
def caller(gateway: RunningGateway, doubles: DoublesServer, small_png: bytes) -> Iterator[Caller]:
    caller = Caller(gateway, doubles, small_png)
    with caller.client:
        yield caller


def keys_told(answer: httpx.Response) -> list[tuple[str, str]]:
    return [(each["key"], each["outcome"]) for each in answer.json()["extra_fields"]["attempts"]]


def keys_sent(server: DoublesServer, vendor: str = "openai") -> list[str]:
    """The credentials that a double was sent, in order."""
    return [request.headers["authorization"].removeprefix("Bearer ") for request in server.state.requests(vendor)]


@pytest.mark.parametrize(
    ("provider", "failure", "outcome"),
    [
        ("limited", "rate_limited", "rate_limited"),
        ("refused", "unauthenticated", "upstream_auth"),
        ("out-of-credit", "payment_required", "upstream_auth"),
    ],
)
def test_another_key_takes_over_at_once_and_the_first_one_rests(
    provider: str,
    failure: str,
    outcome: str,
    caller: Caller,
    doubles: DoublesServer,
) -> None:
    doubles.state.fail("openai", failure, key=FIRST, hint="retry-after", seconds=60)
    answer = caller.ask(f"{provider}/{MODEL}", FALLBACK)
    assert told_maker(answer) == (provider, MODEL, 0)
    assert keys_told(answer) == [("main", outcome), ("spare", "success")]
    assert keys_told(caller.ask(f"{provider}/{MODEL}")) == [("spare", "success")]
    assert keys_sent(doubles) == [FIRST, SECOND, SECOND]


def test_a_key_that_may_not_use_one_model_goes_on_serving_the_others(caller: Caller, doubles: DoublesServer) -> None:
    doubles.state.fail("openai", "forbidden", key=FIRST, model=MODEL)
    assert keys_told(caller.ask(f"forbidden/{MODEL}")) == [("main", "upstream_auth"), ("spare", "success")]
    assert keys_told(caller.ask(f"forbidden/{OTHER_MODEL}")) == [("main", "success")]
    assert keys_told(caller.ask(f"forbidden/{MODEL}")) == [("spare", "success")]


def test_a_key_is_used_for_the_models_it_is_for(caller: Caller, doubles: DoublesServer) -> None:
    for _ in range(3):
        assert keys_told(caller.ask(f"by-model/{MODEL}")) == [("new", "success")]
    assert set(keys_sent(doubles)) == {SECOND}


def test_when_every_key_is_refused_it_is_our_fault_and_nobody_is_asked_any_more(
    caller: Caller,
    doubles: DoublesServer,
) -> None:
    doubles.state.fail("openai", "unauthenticated")
    first = caller.ask(f"all-refused/{MODEL}")
    assert first.status_code == 502
    assert (first.json()["error"]["type"], first.json()["error"]["code"]) == (
        "api_error",
        "provider_authentication_failed",
    )
    second = caller.ask(f"all-refused/{MODEL}")
    assert (second.status_code, second.json()["error"]["code"]) == (502, "no_usable_key")
    assert keys_sent(doubles) == [FIRST, SECOND]
    # The fallback is still there.
    assert attempts(caller.ask(f"all-refused/{MODEL}", FALLBACK))[-1] == ("deepinfra", "success", 200)


def test_when_every_key_is_rate_limited_the_caller_is_told_when_to_come_back(
    caller: Caller,
    doubles: DoublesServer,
) -> None:
    doubles.state.fail("openai", "rate_limited", key=FIRST, hint="retry-after", seconds=50)
    doubles.state.fail("openai", "rate_limited", key=SECOND, hint="retry-after", seconds=40)
    for _ in range(2):
        answer = caller.ask(f"all-limited/{MODEL}")
        assert answer.status_code == 429
        assert 35 < int(answer.headers["retry-after"]) <= 40
    assert keys_sent(doubles) == [FIRST, SECOND]


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_a_caller_s_own_key_is_used_in_place_of_ours(header: str, caller: Caller, doubles: DoublesServer) -> None:
    credential = f"Bearer {SECOND}" if header == "authorization" else SECOND
    answer = caller.ask(f"direct/{MODEL}", headers={header: credential})
    assert keys_told(answer) == [("direct", "success")]
    assert keys_sent(doubles) == [SECOND]
    # A provider that we have no key for can be used by who brings one.
    assert keys_told(caller.ask(f"keyless/{MODEL}", headers={header: credential})) == [("direct", "success")]
    # The next caller gets ours.
    assert keys_told(caller.ask(f"direct/{MODEL}")) == [("main", "success")]


def test_a_caller_s_own_key_goes_to_the_primary_only_and_is_shown_nowhere(
    gateway: RunningGateway,
    caller: Caller,
    doubles: DoublesServer,
) -> None:
    headers = {"authorization": f"Bearer {STRANGERS_KEY}"}
    answer = caller.ask(f"refused-direct/{MODEL}", FALLBACK, f"direct/{MODEL}", headers=headers)
    assert keys_told(answer) == [("direct", "upstream_auth"), ("key-1", "success")]
    assert keys_sent(doubles) == [STRANGERS_KEY]
    assert keys_sent(doubles, "deepinfra") == ["double-key-one-of-deepinfra"]
    # Its refusal says nothing about our own keys there.
    assert keys_told(caller.ask(f"refused-direct/{MODEL}")) == [("main", "success")]

    alone = caller.ask(f"refused-direct/{MODEL}", headers=headers)
    assert alone.status_code == 502
    for text in (answer.text, str(answer.headers.raw), alone.text, str(alone.headers.raw), gateway.log):
        assert STRANGERS_KEY not in text


def test_a_caller_s_own_key_is_not_sent_where_the_operator_chose_the_provider(
    caller: Caller,
    doubles: DoublesServer,
) -> None:
    """A provider's key of the caller's own, without a word about which provider it is for."""
    answer = caller.ask("mine", headers={"authorization": f"Bearer {STRANGERS_KEY}"})
    assert keys_told(answer) == [("main", "success")]
    assert keys_sent(doubles) == [FIRST]


def test_a_signing_key_is_never_sent_itself(caller: Caller, doubles: DoublesServer) -> None:
    model = doubles.state.doubles["bedrock-signed"].model
    assert keys_told(caller.ask(f"signed/{model}")) == [("key-1", "success")]
    secret = doubles.state.doubles["bedrock-signed"].key_parts["secret_access_key"]
    (request,) = doubles.state.requests("bedrock-signed")
    assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
    assert secret not in str(request.headers) + request.body.decode()
