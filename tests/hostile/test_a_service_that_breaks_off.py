"""Connections to the service that end under callers: each is told whether its request may have been done."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from scripted_service import ScriptedService, envoy_before


@pytest.fixture(scope="module")
def service() -> ScriptedService:
    return ScriptedService()


@pytest.fixture(scope="module")
def url(service: ScriptedService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with envoy_before(service, tmp_path_factory.mktemp("scripted")) as url:
        yield url


def ask(url: str) -> httpx.Response:
    return httpx.get(f"{url}/v1/models", timeout=20, trust_env=False)


def assert_told(answer: httpx.Response, status: int, code: str, again: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert answer.headers["x-should-retry"] == again
    assert ("retry-after" in answer.headers) is (status == 503)
    assert not [name for name in answer.headers if name.startswith("grpc-")]


@pytest.mark.parametrize("behaviour", ["8 Too many pending requests for this server", "8 Resource exhausted"])
def test_what_grpc_refuses_for_want_of_room_never_began(service: ScriptedService, url: str, behaviour: str) -> None:
    service.behaviour = behaviour
    assert_told(ask(url), 503, "service_unavailable", "true")


def test_what_was_refused_never_began_and_is_tried_again(service: ScriptedService, url: str) -> None:
    service.behaviour = "refuse"
    service.asked.clear()
    assert_told(ask(url), 503, "service_unavailable", "true")
    assert len(service.asked) == 3


@pytest.mark.parametrize("behaviour", ["reset", "close"])
def test_what_broke_off_may_have_been_done_and_is_not_tried_again(
    service: ScriptedService, url: str, behaviour: str
) -> None:
    service.behaviour = behaviour
    service.asked.clear()
    assert_told(ask(url), 502, "connection_lost", "false")
    assert len(service.asked) == 1


def test_a_message_that_grpc_finds_too_large_is_too_large(service: ScriptedService, url: str) -> None:
    service.behaviour = "8 Received message larger than max (60000000 vs. 53477376)"
    assert_told(ask(url), 413, "request_too_large", "false")


def test_any_other_failure_in_grpcs_own_words_is_ours(service: ScriptedService, url: str) -> None:
    service.behaviour = "2 Unexpected <class 'KeyError'>: 'secret'"
    answer = ask(url)
    assert_told(answer, 500, "internal_error", "false")
    assert "secret" not in answer.text
