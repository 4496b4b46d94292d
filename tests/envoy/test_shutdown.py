"""The end of a gateway: no request is lost, and none is sent again that a provider may have been paid for."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from gateway_of_doubles import FALLBACK, SIZE, Caller, asked, gateway_of_doubles, section
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from imagevariations.v1 import image_variation_pb2 as pb
from imagevariations.v1 import image_variation_service_pb2_grpc
from running_gateway import RunningGateway

from service.composition.drain import LIVENESS
from tests.doubles.server import DoublesServer

OPENAI = "openai/gpt-image-2"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
ENDS_WITHIN_S = 30


@contextlib.contextmanager
def at_work(
    directory: Path, doubles: DoublesServer, image: bytes, headers: Mapping[str, str] | None = None, **drain: str
) -> Iterator[tuple[RunningGateway, Future[httpx.Response]]]:
    """A gateway, and the answer to come of a request that openai is working on."""
    providers: dict[str, Any] = {"openai": section(doubles, "openai")}
    with (
        gateway_of_doubles(directory, doubles, providers, drain=drain) as gateway,
        ThreadPoolExecutor(1) as pool,
    ):
        caller = Caller(gateway, doubles, image)
        with caller.client:
            answer = pool.submit(caller.ask, OPENAI, headers=headers)
            wait_until(lambda: asked(doubles))
            yield gateway, answer


def wait_until(happened: Callable[[], Any], within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)  # noqa: TID251 - waits for another process, not on an event loop


async def until_refused(call: Callable[[], Awaitable[Any]]) -> None:
    """Calls again and again, until that raises."""
    while True:
        await call()
        await asyncio.sleep(0.05)


async def health(channel: grpc.aio.Channel, service: str) -> int:
    answer = await _health_stub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
    return int(answer.status)


def _health_stub(channel: grpc.aio.Channel) -> Any:
    """The stub; its type stubs do not name the methods, which are made at run time."""
    return health_pb2_grpc.HealthStub(channel)


async def test_sigterm_serves_then_refuses_and_finishes_what_is_under_way(
    tmp_path: Path, doubles: DoublesServer, small_png: bytes
) -> None:
    doubles.state.fail("openai", "slow", seconds=4)
    request = pb.CreateImageVariationRequest(image=small_png, model=FALLBACK, size=SIZE, response_format="b64_json")
    with at_work(tmp_path, doubles, small_png, lame_duck="1500ms") as (gateway, answer):
        async with grpc.aio.insecure_channel(gateway.grpc) as channel:
            stub = image_variation_service_pb2_grpc.ImageVariationServiceStub(channel)
            assert await health(channel, "") == await health(channel, LIVENESS) == SERVING
            gateway.process.send_signal(signal.SIGTERM)
            watched = _health_stub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=10)
            async for told in watched:
                if told.status == NOT_SERVING:
                    break
            assert await health(channel, "imagevariations.v1.ImageVariationService") == NOT_SERVING
            assert await health(channel, LIVENESS) == SERVING
            # Load balancers have not seen it yet.
            assert len((await stub.CreateImageVariation(request, timeout=10)).data) == 1
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await until_refused(lambda: stub.CreateImageVariation(request, timeout=10))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        trailers = dict(caught.value.trailing_metadata() or ())
        assert (trailers["retry-after"], trailers["grpc-retry-pushback-ms"]) == ("1", "1000")
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        reason = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(reason)
        assert (reason.reason, reason.metadata["may_have_run"]) == ("SHUTTING_DOWN", "false")

        assert not answer.done(), "it outlives the refusals"
        assert (await asyncio.wrap_future(answer)).status_code == 200
        assert await asyncio.to_thread(gateway.process.wait, ENDS_WITHIN_S) == 0


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once_and_tells_what_may_have_been_paid_for(
    first: signal.Signals, tmp_path: Path, doubles: DoublesServer, small_png: bytes
) -> None:
    doubles.state.fail("openai", "hang")
    with at_work(tmp_path, doubles, small_png, lame_duck="60s") as (gateway, answer):
        gateway.process.send_signal(first)
        wait_until(lambda: "draining" in gateway.log)
        gateway.process.send_signal(signal.SIGTERM)
        assert_ended_unfinished(answer)
        assert gateway.process.wait(ENDS_WITHIN_S) == 0
    wait_until(lambda: doubles.state.abandoned)


def test_work_that_takes_too_long_is_ended_in_the_same_way(
    tmp_path: Path, doubles: DoublesServer, small_png: bytes
) -> None:
    doubles.state.fail("openai", "hang")
    with at_work(tmp_path, doubles, small_png, lame_duck="10ms", seconds="1200ms") as (gateway, answer):
        gateway.process.send_signal(signal.SIGTERM)
        assert_ended_unfinished(answer)
        assert gateway.process.wait(ENDS_WITHIN_S) == 0
    assert asked(doubles) == ["openai"]


def test_the_same_key_after_a_restart_finds_what_became_of_ended_work(
    tmp_path: Path, doubles: DoublesServer, small_png: bytes
) -> None:
    doubles.state.fail("openai", "hang")
    key = {"idempotency-key": "one picture"}
    with at_work(tmp_path, doubles, small_png, headers=key) as (gateway, answer):
        gateway.process.send_signal(signal.SIGINT)
        wait_until(lambda: "draining" in gateway.log)
        gateway.process.send_signal(signal.SIGINT)
        assert_ended_unfinished(answer)
        assert gateway.process.wait(ENDS_WITHIN_S) == 0
    with gateway_of_doubles(tmp_path, doubles, {"openai": section(doubles, "openai")}) as gateway:
        caller = Caller(gateway, doubles, small_png)
        with caller.client:
            again = caller.ask(OPENAI, headers=key)
    assert (again.status_code, again.json()["error"]["code"]) == (502, "shutting_down")
    assert asked(doubles) == ["openai"], "and it was not done again"


def test_ctrl_c_does_not_wait_for_load_balancers(tmp_path: Path, doubles: DoublesServer) -> None:
    with gateway_of_doubles(tmp_path, doubles, {}, drain={"lame_duck": "10m"}) as gateway:
        gateway.process.send_signal(signal.SIGINT)
        assert gateway.process.wait(ENDS_WITHIN_S) == 0


def assert_ended_unfinished(answer: Future[httpx.Response]) -> None:
    told = answer.result(timeout=ENDS_WITHIN_S)
    assert (told.status_code, told.headers["x-should-retry"]) == (502, "false")
    assert "retry-after" not in told.headers
    assert told.json()["error"]["code"] == "shutting_down"
    assert "may bill it" in told.json()["error"]["message"]
