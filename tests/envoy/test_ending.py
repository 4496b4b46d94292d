"""Requests that do not simply succeed: out of time, given up, or failed half-way in a stream."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import pytest
from gateway_of_doubles import FALLBACK, SIZE, VARIATIONS, Caller, asked, gateway_of_doubles, section
from imagevariations.v1 import image_variation_pb2 as pb
from imagevariations.v1 import image_variation_service_pb2_grpc
from running_gateway import RunningGateway
from waiting import wait_until

from tests.doubles.server import DoublesServer

OPENAI, GEMINI, FAL = "openai/gpt-image-2", "gemini/gemini-3.1-flash-image", "fal/fal-ai/flux-1/dev/redux"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, doubles_process: DoublesServer) -> Iterator[RunningGateway]:
    providers: dict[str, Any] = {name: section(doubles_process, name) for name in ("openai", "gemini", "fal")}
    providers["impatient"] = section(doubles_process, "openai", timeout="300ms")
    with gateway_of_doubles(tmp_path_factory.mktemp("gateway"), doubles_process, providers) as running:
        yield running


@pytest.fixture
def caller(gateway: RunningGateway, doubles: DoublesServer, small_png: bytes) -> Iterator[Caller]:
    caller = Caller(gateway, doubles, small_png)
    with caller.client:
        yield caller


@pytest.fixture(params=["directly", "through Envoy"])
def address(request: pytest.FixtureRequest, gateway: RunningGateway) -> str:
    """The address that a native gRPC client calls."""
    return gateway.grpc if request.param == "directly" else gateway.url.removeprefix("http://")


async def until(happened: Callable[[], Any]) -> None:
    await asyncio.to_thread(wait_until, happened)


class TestDeadline:
    def test_it_bounds_primary_and_fallback_together(self, caller: Caller, doubles: DoublesServer) -> None:
        for vendor in ("openai", "deepinfra"):
            doubles.state.fail(vendor, "hang")
        begun = time.monotonic()
        answer = caller.ask("impatient/gpt-image-2", FALLBACK, headers={"x-request-timeout-ms": "900"})
        assert 0.5 < time.monotonic() - begun < 2
        assert answer.status_code == 504
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("timeout_error", "timeout")
        assert "impatient/gpt-image-2 (timeout)" in error["message"]
        assert f"{FALLBACK} (deadline_exceeded)" in error["message"]
        # Nobody is kept at work for an answer that no one waits for.
        assert asked(doubles) == ["openai", "deepinfra"]
        wait_until(lambda: len(doubles.state.abandoned) == 2)

    def test_targets_that_hang_leave_the_last_one_time(self, caller: Caller, doubles: DoublesServer) -> None:
        for vendor in ("openai", "deepinfra"):
            doubles.state.fail(vendor, "hang")
        answer = caller.ask(OPENAI, FALLBACK, GEMINI, headers={"x-request-timeout-ms": "6000"})
        assert answer.status_code == 200
        fields = answer.json()["extra_fields"]
        assert [attempt["outcome"] for attempt in fields["attempts"]] == [
            "time_share_used",
            "time_share_used",
            "success",
        ]
        assert fields["fallback_index"] == 2
        wait_until(lambda: len(doubles.state.abandoned) == 2)

    async def test_a_grpc_client_s_own_bounds_it_too(
        self,
        address: str,
        doubles: DoublesServer,
        small_png: bytes,
    ) -> None:
        doubles.state.fail("openai", "hang")
        begun = time.monotonic()
        async with grpc.aio.insecure_channel(address) as channel:
            stub = image_variation_service_pb2_grpc.ImageVariationServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.CreateImageVariation(message(small_png, OPENAI), timeout=0.6)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - begun < 2
        await until(lambda: doubles.state.abandoned)
        assert asked(doubles) == ["openai"]


class TestCallersWhoGoAway:
    """Their provider is told, so that it need not finish (and bill) what nobody will see."""

    def test_a_rest_client_who_hangs_up(self, caller: Caller, doubles: DoublesServer) -> None:
        doubles.state.fail("openai", "hang")
        with pytest.raises(httpx.ReadTimeout):
            caller.client.post(
                VARIATIONS,
                files={"image": ("photo.png", caller.image)},
                data={"model": OPENAI, "fallbacks": FALLBACK},
                timeout=0.5,
            )
        wait_until(lambda: doubles.state.abandoned)
        assert asked(doubles) == ["openai"]

    def test_a_rest_client_who_leaves_work_in_a_queue(self, caller: Caller, doubles: DoublesServer) -> None:
        doubles.state.fail("fal", "hang", on="poll")
        with pytest.raises(httpx.ReadTimeout):
            caller.client.post(
                VARIATIONS, files={"image": ("photo.png", caller.image)}, data={"model": FAL}, timeout=1.5
            )
        wait_until(lambda: cancelled_in_the_queue(doubles))
        wait_until(lambda: all(job.cancelled for job in doubles.state.jobs["fal"].values()))

    async def test_a_grpc_client_who_cancels(self, address: str, doubles: DoublesServer, small_png: bytes) -> None:
        doubles.state.fail("openai", "hang")
        async with grpc.aio.insecure_channel(address) as channel:
            stub = image_variation_service_pb2_grpc.ImageVariationServiceStub(channel)
            call = stub.CreateImageVariation(message(small_png, OPENAI, FALLBACK))
            await until(lambda: asked(doubles) == ["openai"])
            call.cancel()
            await until(lambda: doubles.state.abandoned)
        assert asked(doubles) == ["openai"]

    async def test_a_grpc_client_who_cancels_a_stream_of_queued_work(
        self,
        address: str,
        doubles: DoublesServer,
        small_png: bytes,
    ) -> None:
        doubles.state.fail("fal", "hang", on="poll")
        async with grpc.aio.insecure_channel(address) as channel:
            stub = image_variation_service_pb2_grpc.ImageVariationServiceStub(channel)
            call = stub.StreamImageVariation(message(small_png, FAL))
            assert (await read(call)).attempt_started.provider == "fal"
            await until(lambda: any(request.method == "GET" for request in doubles.state.requests("fal")))
            call.cancel()
            await until(lambda: cancelled_in_the_queue(doubles))


class TestStreams:
    def test_a_fallback_is_told_as_it_happens(self, caller: Caller, doubles: DoublesServer) -> None:
        doubles.state.fail("openai", "rate_limited")
        events = caller_events(caller, OPENAI, FALLBACK, n="2")
        assert [event["type"].removeprefix("image_variation.") for event in events] == [
            "attempt_started",
            "attempt_failed",
            "attempt_started",
            "image_completed",
            "image_completed",
            "completed",
        ]
        started, failed, again, first, second, completed = (event_value(event) for event in events)
        assert (f"{started['provider']}/{started['model']}", started["fallback_index"]) == (OPENAI, 0)
        attempt = failed["attempt"]
        assert (attempt["provider"], attempt["outcome"], attempt["status"]) == ("openai", "rate_limited", 429)
        assert failed["next"] == FALLBACK
        assert "429" in failed["reason"]
        assert (f"{again['provider']}/{again['model']}", again["fallback_index"]) == (FALLBACK, 1)
        assert {first["index"], second["index"]} == {0, 1}
        assert first["b64_json"] != second["b64_json"]
        extra = completed["extra_fields"]
        assert (extra["provider"], extra["fallback_index"]) == ("deepinfra", 1)
        assert [each["outcome"] for each in extra["attempts"]] == ["rate_limited", "success"]

    def test_a_stream_that_fails_once_begun_says_so_in_its_last_event(
        self,
        caller: Caller,
        doubles: DoublesServer,
    ) -> None:
        doubles.state.fail("gemini", "malformed_json")
        doubles.state.fail("deepinfra", "server_error")
        events = caller_events(caller, GEMINI, FALLBACK)
        assert [event["type"].removeprefix("image_variation.") for event in events] == [
            "attempt_started",
            "attempt_failed",
            "attempt_started",
            "attempt_failed",
            "failed",
        ]
        assert "next" not in event_value(events[3])
        failed = event_value(events[4])
        assert (failed["type"], failed["code"]) == ("api_error", "provider_unavailable")
        assert GEMINI in failed["message"]
        assert FALLBACK in failed["message"]

    async def test_a_native_client_gets_a_status_instead(
        self,
        address: str,
        doubles: DoublesServer,
        small_png: bytes,
    ) -> None:
        doubles.state.fail("gemini", "malformed_json")
        doubles.state.fail("deepinfra", "malformed_json")
        async with grpc.aio.insecure_channel(address) as channel:
            stub = image_variation_service_pb2_grpc.ImageVariationServiceStub(channel)
            call = stub.StreamImageVariation(message(small_png, GEMINI, FALLBACK), timeout=30)
            kinds = [(await read(call)).WhichOneof("event") for _ in range(4)]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
        assert kinds == ["attempt_started", "attempt_failed"] * 2
        assert caught.value.code() is grpc.StatusCode.UNKNOWN
        assert GEMINI in (caught.value.details() or "")


async def read(call: grpc.aio.UnaryStreamCall[Any, pb.StreamImageVariationResponse]) -> pb.StreamImageVariationResponse:
    """The next event of a stream that has not ended."""
    event = await call.read()
    assert isinstance(event, pb.StreamImageVariationResponse)
    return event


def message(image: bytes, model: str, *fallbacks: str) -> pb.CreateImageVariationRequest:
    return pb.CreateImageVariationRequest(
        image=image,
        model=model,
        size=SIZE,
        response_format="b64_json",
        fallbacks=[pb.Fallback(model=fallback) for fallback in fallbacks],
    )


def cancelled_in_the_queue(doubles: DoublesServer) -> bool:
    return [request.path.rpartition("/")[2] for request in doubles.state.requests("fal")].count("cancel") == 1


def caller_events(caller: Caller, model: str, *fallbacks: str, **fields: str) -> list[dict[str, Any]]:
    """The events in a stream of Server-Sent Events."""
    data = {"model": model, "size": SIZE, "response_format": "b64_json", **fields}
    files = {"image": ("photo.png", caller.image)}
    with caller.client.stream(
        "POST", f"{VARIATIONS}:stream", files=files, data={**data, "fallbacks": list(fallbacks)}
    ) as answer:
        assert answer.status_code == 200
        return [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data: ")]


def event_value(event: dict[str, Any]) -> dict[str, Any]:
    """The message in an event of an image variation."""
    value: dict[str, Any] = event[event["type"].removeprefix("image_variation.")]
    return value
