"""The fallback's image arrives in spite of everything that a primary can do wrong, with the truth told of it.

Every failure is a real one, on a real socket; the doubles' own log says who was asked, in which order, how often.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from gateway_of_doubles import (
    FALLBACK,
    Caller,
    asked,
    attempts,
    gateway_of_doubles,
    pictures,
    section,
    told_maker,
)
from running_gateway import RunningGateway, free_ports

from tests.doubles.server import DoublesServer

OPENAI, RECRAFT = "gpt-image-2", "variate"
ROUTE = ("xai/grok-imagine-image", f"recraft/{RECRAFT}", "vllm-omni/Qwen/Qwen-Image-Edit-2511")
ROUTE_VENDORS = ["xai", "recraft", "vllm-omni"]


@dataclass(frozen=True)
class Mishap:
    """One way for a primary to fail.

    Attributes:
        failure: What the double is told to do wrong; empty: it is never reached.
        outcome, status: What the attempt is to say.
        vendor, model: The primary.
        changes: To its section of the configuration.
        switch: Further fields of the double's switch.
    """

    name: str
    failure: str
    outcome: str
    status: int | None = None
    vendor: str = "openai"
    model: str = OPENAI
    changes: dict[str, Any] = field(default_factory=dict)
    switch: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


MISHAPS = (
    Mishap("error-500", "server_error", "unavailable", 500),
    Mishap("overloaded-503", "overloaded", "unavailable", 503),
    Mishap("rate-limited-429", "rate_limited", "rate_limited", 429),
    Mishap("key-refused-401", "unauthenticated", "upstream_auth", 401),
    Mishap("no-credit-402", "payment_required", "upstream_auth", 402),
    Mishap("forbidden-403", "forbidden", "upstream_auth", 403),
    Mishap("model-gone-404", "model_gone", "model_gone", 404),
    Mishap("hangs", "hang", "timeout", changes={"timeout": "300ms"}),
    Mishap("reset-before-headers", "reset_before_headers", "unavailable"),
    Mishap("reset-mid-body", "reset_mid_body", "unavailable"),
    Mishap("closed-mid-body", "close_mid_body", "bad_response"),
    Mishap("refuses-connections", "", "unavailable", changes={"base_url": "REFUSING"}),
    Mishap("malformed-json", "malformed_json", "bad_response", 200),
    Mishap("truncated-json", "truncated_json", "bad_response", 200),
    Mishap("web-page", "wrong_content_type", "bad_response", 200),
    Mishap("endless", "huge_body", "bad_response", switch={"bytes": 12_000_000}),
    Mishap("empty-result", "empty_result", "bad_response", 200),
    Mishap("expired-link", "expired_url", "bad_response", 200, vendor="recraft", model=RECRAFT),
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, doubles_process: DoublesServer) -> Iterator[RunningGateway]:
    (refusing,) = free_ports(1)
    providers = {each.name: section(doubles_process, each.vendor, **each.changes) for each in MISHAPS}
    providers["refuses-connections"]["base_url"] = f"http://127.0.0.1:{refusing}"
    for name in ("openai", "gemini", "recraft", "fal-run", "vllm-omni", "xai"):
        providers[name] = section(doubles_process, name)
    for name in ROUTE_VENDORS:
        providers[f"limited-{name}"] = section(doubles_process, name)
    providers["persistent"] = section(doubles_process, "openai", max_retries=2)
    with gateway_of_doubles(
        tmp_path_factory.mktemp("gateway"),
        doubles_process,
        providers,
        aliases={"safe": [f"openai/{OPENAI}", "gemini/gemini-3.1-flash-image", FALLBACK]},
        limits={"response_bytes": "8MiB"},
    ) as running:
        yield running


@pytest.fixture
def caller(gateway: RunningGateway, doubles: DoublesServer, small_png: bytes) -> Iterator[Caller]:
    caller = Caller(gateway, doubles, small_png)
    with caller.client:
        yield caller


@pytest.mark.parametrize("mishap", MISHAPS, ids=str)
def test_the_fallback_s_image_arrives_whatever_the_primary_does(
    mishap: Mishap,
    caller: Caller,
    doubles: DoublesServer,
) -> None:
    if mishap.failure:
        doubles.state.fail(mishap.vendor, mishap.failure, **mishap.switch)
    answer = caller.ask(f"{mishap.name}/{mishap.model}", FALLBACK)
    (picture,) = pictures(answer)
    assert picture.size == (256, 256)
    assert told_maker(answer) == ("deepinfra", FALLBACK.partition("/")[2], 1)
    assert attempts(answer) == [(mishap.name, mishap.outcome, mishap.status), ("deepinfra", "success", 200)]
    told = answer.json()["extra_fields"]["attempts"]
    # A provider that cannot be reached has been shown no key, but one was chosen.
    assert [attempt["key"] for attempt in told] == ["key-1", "key-1"]
    assert [attempt["model"] for attempt in told] == [mishap.model, FALLBACK.partition("/")[2]]
    # Once each: nothing that may have been paid for was asked for again.
    assert asked(doubles) == [mishap.vendor] * bool(mishap.failure) + ["deepinfra"]


def test_fallbacks_are_tried_in_order_until_one_makes_it(caller: Caller, doubles: DoublesServer) -> None:
    doubles.state.fail("openai", "server_error")
    doubles.state.fail("gemini", "malformed_json")
    answer = caller.ask("safe")
    assert told_maker(answer)[0::2] == ("deepinfra", 2)
    assert attempts(answer) == [
        ("openai", "unavailable", 500),
        ("gemini", "bad_response", 200),
        ("deepinfra", "success", 200),
    ]
    assert asked(doubles) == ["openai", "gemini", "deepinfra"]
    assert answer.json()["extra_fields"]["model_requested"] == "safe"


def test_no_fallback_is_asked_when_the_primary_makes_it(caller: Caller, doubles: DoublesServer) -> None:
    answer = caller.ask(f"openai/{OPENAI}", FALLBACK, "gemini/gemini-3.1-flash-image")
    assert told_maker(answer) == ("openai", OPENAI, 0)
    assert asked(doubles) == ["openai"]


def test_what_surely_did_not_run_is_asked_for_again_at_the_same_place(caller: Caller, doubles: DoublesServer) -> None:
    doubles.state.fail("openai", "rate_limited", times=2)
    answer = caller.ask(f"persistent/{OPENAI}", FALLBACK)
    assert told_maker(answer) == ("persistent", OPENAI, 0)
    assert attempts(answer) == [
        ("persistent", "rate_limited", 429),
        ("persistent", "rate_limited", 429),
        ("persistent", "success", 200),
    ]
    assert asked(doubles) == ["openai"] * 3


@pytest.mark.parametrize("vendor", ["gemini", "fal-run", "openai"])
def test_a_refusal_is_the_answer_and_no_other_provider_is_shown_the_picture(
    vendor: str,
    caller: Caller,
    doubles: DoublesServer,
) -> None:
    """The first two say it inside a 200."""
    doubles.state.fail(vendor, "refusal")
    answer = caller.ask(f"{vendor}/{doubles.state.doubles[vendor].model}", FALLBACK)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("content_policy_error", "content_rejected")
    assert answer.headers["x-provider"] == vendor
    assert asked(doubles) == [vendor]


@dataclass(frozen=True)
class Disaster:
    """The same failure everywhere: how it is answered."""

    failure: str
    status: int
    type: str
    code: str

    def __str__(self) -> str:
        return self.failure


DISASTERS = (
    Disaster("server_error", 502, "api_error", "provider_unavailable"),
    Disaster("reset_before_headers", 502, "api_error", "provider_unavailable"),
    Disaster("malformed_json", 502, "api_error", "bad_provider_response"),
    Disaster("model_gone", 404, "invalid_request_error", "model_not_found"),
)


@pytest.mark.parametrize("disaster", DISASTERS, ids=str)
def test_when_all_fail_alike_that_is_the_answer_and_every_attempt_is_listed(
    disaster: Disaster,
    caller: Caller,
    doubles: DoublesServer,
) -> None:
    for vendor in ROUTE_VENDORS:
        doubles.state.fail(vendor, disaster.failure)
    answer = caller.ask(*ROUTE)
    assert answer.status_code == disaster.status
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == (disaster.type, disaster.code)
    assert [error["message"].count(target) for target in ROUTE] == [1, 1, 1]
    assert asked(doubles) == ROUTE_VENDORS
    assert "retry-after" not in answer.headers
    assert answer.headers["x-provider"] == "vllm-omni"


def test_when_all_are_rate_limited_the_caller_is_told_when_the_first_is_back(
    caller: Caller,
    doubles: DoublesServer,
) -> None:
    for vendor, seconds in zip(ROUTE_VENDORS, (40, 20, 30), strict=True):
        doubles.state.fail(vendor, "rate_limited", hint="retry-after", seconds=seconds)
    # By names of their own, since the keys stay at rest.
    route = [f"limited-{target}" for target in ROUTE]
    answer = caller.ask(*route)
    assert answer.status_code == 429
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert [error["message"].count(target) for target in route] == [1, 1, 1]
    assert 15 < int(answer.headers["retry-after"]) <= 20
    # Nobody is asked again before that, and the answer stays the same.
    again = caller.ask(*route)
    assert (again.status_code, asked(doubles)) == (429, ROUTE_VENDORS)
    assert 15 < int(again.headers["retry-after"]) <= 20


def test_when_all_fail_differently_none_of_their_reasons_is_the_answer(caller: Caller, doubles: DoublesServer) -> None:
    doubles.state.fail("gemini", "unauthenticated")
    doubles.state.fail("openai", "server_error")
    doubles.state.fail("deepinfra", "empty_result")
    answer = caller.ask("safe")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (502, "false")
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("api_error", "provider_unavailable")
    assert f"openai/{OPENAI} (unavailable)" in error["message"]
    assert "gemini/gemini-3.1-flash-image (upstream_auth)" in error["message"]
    assert f"{FALLBACK} (bad_response)" in error["message"]
