"""Large photos, many requests at once, and bodies that someone has tampered with."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from running_gateway import RunningGateway, running_gateway

from service.concurrency.tasks import started
from tests.doubles.framework import Call, Operation, Reply, VendorDouble, key_in_header
from tests.doubles.server import DoublesServer

VARIATIONS = "/v1/images/variations"


def test_a_photo_of_20_megabytes(client: httpx.Client, large_photo: bytes) -> None:
    assert len(large_photo) > 20_000_000
    answer = client.post(VARIATIONS, files={"image": ("large.png", large_photo)}, data={"size": "512x512"})
    assert answer.status_code == 200
    picture = Image.open(io.BytesIO(client.get(answer.json()["data"][0]["url"]).content))
    assert picture.size == (512, 512)


async def test_fifty_requests_at_once_all_answer(gateway: RunningGateway, small_png: bytes) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, timeout=180, trust_env=False) as client:

        async def one() -> int:
            files = {"image": ("photo.png", small_png)}
            return (await client.post(VARIATIONS, files=files, data={"size": "256x256"})).status_code

        assert await asyncio.gather(*(one() for _ in range(50))) == [200] * 50


async def test_health_answers_while_ten_variations_are_being_made(gateway: RunningGateway, photo: bytes) -> None:
    """Not a benchmark: an answer that has to wait for the engine would take seconds."""
    async with (
        httpx.AsyncClient(base_url=gateway.url, timeout=180, trust_env=False) as client,
        grpc.aio.insecure_channel(gateway.grpc) as channel,
    ):
        files, data = {"image": ("photo.jpg", photo)}, {"n": "10", "size": "1024x1024"}
        work = started(client.post(VARIATIONS, files=files, data=data))
        health = health_pb2_grpc.HealthStub(channel)
        answered = 0
        begun = time.monotonic()
        while not work.done():
            await health.Check(health_pb2.HealthCheckRequest(), timeout=5)  # type: ignore[attr-defined]  # its stubs know no methods
            answered += 1
            await asyncio.sleep(0.01)
        elapsed = time.monotonic() - begun
        assert (await work).status_code == 200
    # On average one every quarter of a second at the very least, on however slow a machine.
    assert answered > elapsed * 4


BOUNDARY = "a7a7a7a7"


def valid_body(image: bytes) -> bytes:
    def part(disposition: str, value: bytes) -> bytes:
        return f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + value + b"\r\n"

    return (
        part('name="model"', b"dall-e-2")
        + part('name="n"', b"1")
        + part('name="size"', b"256x256")
        + part('name="fallbacks[0][model]"', b"fixed/other")
        + part('name="image"; filename="a.png"', image)
        + f"--{BOUNDARY}--\r\n".encode()
    )


@pytest.fixture(scope="module")
def tiny_body() -> bytes:
    """Small, so that most mutations hit the structure rather than the picture."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((12, 12)).save(buffer, "PNG")
    return valid_body(buffer.getvalue())


PICTURE = io.BytesIO()
Image.linear_gradient("L").save(PICTURE, "PNG")


async def the_same_picture_at_once(call: Call) -> Reply:
    return Reply(json={"data": [{"b64_json": base64.b64encode(PICTURE.getvalue()).decode()}]})


@pytest.fixture(scope="module")
def quick_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Of a gateway whose provider takes no time, so that thousands of bodies that are still valid take none either."""
    fixed = VendorDouble(
        name="fixed",
        operations=(Operation("POST", "/images/variations", the_same_picture_at_once),),
        authenticate=key_in_header("Authorization", "Bearer "),
        error=lambda status, message: Reply(status, {"error": message}),
        model="any",
    )
    with DoublesServer([fixed]) as server:
        provider = {"type": "deepinfra", "base_url": server.base_url("fixed"), "keys": list(fixed.accepted_keys)}
        document = {"providers": {"fixed": provider}, "default_route": "fixed/any", "engine": {"enabled": False}}
        with (
            running_gateway(tmp_path_factory.mktemp("gateway"), yaml.safe_dump(document)) as gateway,
            httpx.Client(base_url=gateway.url, timeout=120, trust_env=False) as client,
        ):
            yield client


_LOOK = settings(
    deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=150
)


@given(data=st.data())
@_LOOK
def test_a_mutated_body_is_an_answer_or_a_clear_error(
    quick_client: httpx.Client, tiny_body: bytes, data: st.DataObject
) -> None:
    """Over the socket; the reader itself gets thousands of such bodies in its own tests."""
    answered_or_refused(quick_client, mutated(tiny_body, data.draw))


@pytest.mark.slow
@given(data=st.data())
@settings(_LOOK, max_examples=2000)
def test_many_mutated_bodies_are_answers_or_clear_errors(
    quick_client: httpx.Client, tiny_body: bytes, data: st.DataObject
) -> None:
    answered_or_refused(quick_client, mutated(tiny_body, data.draw))


def mutated(good: bytes, draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """``good`` with up to four changes of a few bytes each."""
    body = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        match draw(st.sampled_from(["flip", "insert", "delete", "repeat", "truncate"])):
            case "flip" if at < len(body):
                body[at] ^= draw(st.integers(1, 255))
            case "insert":
                body[at:at] = draw(st.binary(min_size=1, max_size=12))
            case "delete":
                del body[at : at + draw(st.integers(1, 40))]
            case "repeat":
                body[at:at] = body[at : at + draw(st.integers(1, 80))]
            case "truncate":
                del body[at:]
    return bytes(body)


def answered_or_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post(
        VARIATIONS, content=body, headers={"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    )
    assert answer.status_code in (200, 400, 404, 413, 415), answer.text
    if answer.status_code != 200:
        assert set(answer.json()["error"]) == {"message", "type", "code", "param"}
