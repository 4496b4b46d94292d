"""The metrics of a real run, read as Prometheus reads them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_of_doubles import FALLBACK, Caller, gateway_of_doubles, section
from prometheus_client.parser import text_string_to_metric_families
from running_gateway import RunningGateway, free_ports, running_gateway

from tests.doubles.server import DoublesServer

OPENAI, GEMINI = "openai/gpt-image-2", "gemini/gemini-3.1-flash-image"
OPENAI_LABELS = {"provider": "openai", "model": "gpt-image-2"}
GEMINI_LABELS = {"provider": "gemini", "model": "gemini-3.1-flash-image"}
METHOD = "CreateImageVariationFromBody"


@pytest.fixture(scope="module")
def address() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture
def gateway(tmp_path: Path, doubles: DoublesServer, address: str) -> Iterator[RunningGateway]:
    providers: dict[str, Any] = {name: section(doubles, name) for name in ("openai", "gemini")}
    settings: dict[str, Any] = {
        "listen": {"metrics": address},
        "cache": {"enabled": True},
        "breaker": {"failures": 2, "cooldown": "10m"},
    }
    with gateway_of_doubles(tmp_path, doubles, providers, **settings) as running:
        yield running


class Scraped:
    """The samples of one reading."""

    def __init__(self, address: str) -> None:
        answer = httpx.get(f"http://{address}/metrics", timeout=10, trust_env=False)
        assert answer.status_code == 200
        families = text_string_to_metric_families(answer.text)
        self.samples = {
            (sample.name.removeprefix("image_variations_"), *sorted(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def __call__(self, name: str, /, **labels: str) -> float | None:
        """The value of one sample; None: there is none."""
        return self.samples.get((name, *sorted(labels.items())))


def test_a_success_a_fallback_an_error_and_a_cache_hit_are_counted(
    gateway: RunningGateway, doubles: DoublesServer, small_png: bytes, address: str
) -> None:
    caller = Caller(gateway, doubles, small_png)
    with caller.client:
        made = caller.ask(OPENAI, n="2")
        assert made.status_code == 200
        assert caller.ask(OPENAI, n="2").headers["x-cache"] == "hit"
        doubles.state.fail("gemini", "malformed_json")
        for _ in range(2):
            answer = caller.ask(GEMINI, FALLBACK, headers={"x-bf-cache-no-store": "true"})
            assert answer.headers["x-provider"] == "deepinfra"
        assert caller.ask(OPENAI, n="99").status_code == 400
        # A name of the caller's own is no label.
        caller.ask("openai/made-up-by-the-caller")
    told = Scraped(address)

    assert told("requests_total", method=METHOD, code="INVALID_ARGUMENT", caller="anybody") == 1
    succeeded = told("requests_total", method=METHOD, code="OK", caller="anybody")
    assert succeeded is not None
    assert succeeded >= 4
    assert told("overhead_seconds_count") == succeeded
    assert told("request_duration_seconds_count", method=METHOD) == 6
    assert told("attempts_total", **OPENAI_LABELS, outcome="success") == 1
    assert told("attempt_duration_seconds_count", **OPENAI_LABELS) == 1
    assert told("attempts_total", **GEMINI_LABELS, outcome="bad_response") == 2
    assert told("fallbacks_total", **GEMINI_LABELS, outcome="bad_response") == 2
    assert told("circuit_state", **GEMINI_LABELS) == 2
    assert told("circuit_state", **OPENAI_LABELS) is None
    assert told("cache_lookups_total", result="direct") == 1
    assert told("cache_lookups_total", result="semantic") == 0
    assert told("images_total", **OPENAI_LABELS) == 4, "two made, two from the cache"
    key = made.json()["extra_fields"]["attempts"][0]["key"]
    assert told("cost_usd_total", **OPENAI_LABELS, key=key) == pytest.approx(made.json()["extra_fields"]["cost_usd"])
    received, sent = told("received_bytes_total"), told("sent_bytes_total")
    assert received is not None
    assert sent is not None
    assert received > 6 * len(small_png)
    assert sent >= 2 * len(made.content)
    assert told("attempts_total", provider="openai", model="other", outcome="model_gone") == 1
    assert not any("made-up" in str(labels) for labels in told.samples)
    for gauge in ("requests_in_flight", "admitted_requests", "admitted_bytes", "waiting_requests"):
        assert told(gauge) == 0, gauge
    assert told("refusals_total", reason="overload") == 0
    assert [name for name, *_ in told.samples if name == "build_info"] == ["build_info"]


def test_a_taken_default_port_is_no_reason_not_to_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 9464))
            taken.listen()
        except OSError:
            pass  # Somebody else has it, which is as good.
        with running_gateway(tmp_path, "engine: {warm_up: false}") as gateway:
            assert "Metrics cannot be served on 127.0.0.1:9464" in gateway.log
