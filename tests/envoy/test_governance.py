"""Credentials, budgets and rate limits through the real Envoy, over REST and gRPC."""

# ruff: noqa: F811 - pytest's fixtures are imported, and then named as parameters

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml
from doubles_server import doubles, doubles_process  # noqa: F401  # fixtures
from gateway_of_doubles import gateway_of_doubles, section
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from imagevariations.v1 import image_variation_pb2 as pb
from imagevariations.v1 import image_variation_service_pb2_grpc
from PIL import Image
from redis_server import RedisServer, own_redis_server, redis_process, redis_server  # noqa: F401  # fixtures
from running_gateway import REPOSITORY, RunningGateway, free_ports

from tests.doubles.server import DoublesServer

VARIATIONS = "/v1/images/variations"
# Four cents a request, as the double reports it and the catalog prices it.
MODEL = "recraft/variate"
RATE_HEADERS = tuple(f"x-ratelimit-{what}-requests" for what in ("limit", "remaining", "reset"))


def secret(name: str) -> str:
    return f"sk-bf-{name}-".ljust(40, "x")


def key(name: str, **grants: Any) -> dict[str, Any]:
    return {"name": name, "value": secret(name), **grants}


KEYS = [
    key("plain"),
    key("disabled", enabled=False),
    key("expired", expires="2020-01-01"),
    key("narrow", providers=["recraft"]),
    key("poor", budgets=[{"usd": 0.04, "window": "1d"}]),
    key("slow", rate_limits=[{"requests": 1, "window": "1h"}]),
    key("careless", rate_limits=[{"requests": 6, "window": "1h"}]),
    key("pictures", rate_limits=[{"images": 2, "window": "1h"}]),
    key("watched", rate_limits=[{"requests": 100, "window": "1m"}]),
]
TOKEN = "token-of-the-nightly-build"


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory,
    doubles_process: DoublesServer,
) -> Iterator[RunningGateway]:
    providers = {"recraft": section(doubles_process, "recraft"), "openai": section(doubles_process, "openai")}
    directory = tmp_path_factory.mktemp("governed")
    tokens = [{"name": "nightly", "value": TOKEN}]
    with gateway_of_doubles(
        directory, doubles_process, providers, keys=KEYS, tokens=tokens, allow_direct_keys=True
    ) as running:
        yield running
        # However they were sent, no credential was written down.
        for credential in (*(each["value"] for each in KEYS), TOKEN):
            assert credential not in running.log


@pytest.fixture(scope="module")
def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (300, 300), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def post(
    gateway: RunningGateway, picture: bytes, credential: str = "", *, header: str = "authorization", **fields: Any
) -> httpx.Response:
    value = f"Bearer {credential}" if header == "authorization" else credential
    data = {"model": MODEL, "response_format": "b64_json", "size": "256x256", **fields}
    with httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as client:
        return client.post(
            VARIATIONS,
            files={"image": ("photo.png", picture)},
            data=data,
            headers={header: value} if credential else {},
        )


async def call(
    gateway: RunningGateway, picture: bytes, credential: str, fallbacks: Sequence[str] = (), **fields: Any
) -> grpc.aio.AioRpcError | None:
    """The same over native gRPC; its failure, or None."""
    wanted = [pb.Fallback(model=each) for each in fallbacks]
    request = pb.CreateImageVariationRequest(
        image=picture, **{"model": MODEL, "response_format": "b64_json", "size": "256x256", **fields}, fallbacks=wanted
    )
    metadata = (("authorization", f"Bearer {credential}"),) if credential else ()
    async with grpc.aio.insecure_channel(gateway.grpc) as channel:
        stub = image_variation_service_pb2_grpc.ImageVariationServiceStub(channel)
        try:
            await stub.CreateImageVariation(request, metadata=metadata, timeout=60)
        except grpc.aio.AioRpcError as error:
            return error
    return None


REFUSALS = [
    ("", {}, 401, "UNAUTHENTICATED", "authentication_error", "invalid_api_key"),
    (secret("nobody"), {}, 401, "UNAUTHENTICATED", "authentication_error", "invalid_api_key"),
    (secret("disabled"), {}, 403, "PERMISSION_DENIED", "permission_error", "key_disabled"),
    (secret("expired"), {}, 403, "PERMISSION_DENIED", "permission_error", "key_expired"),
    (
        secret("narrow"),
        {"model": "openai/gpt-image-2"},
        403,
        "PERMISSION_DENIED",
        "permission_error",
        "model_not_allowed",
    ),
    (
        secret("narrow"),
        {"fallbacks": ["openai/gpt-image-2"]},
        403,
        "PERMISSION_DENIED",
        "permission_error",
        "fallback_not_allowed",
    ),
    (
        secret("poor"),
        {"n": 6, "model": "openai/gpt-image-2"},
        402,
        "RESOURCE_EXHAUSTED",
        "billing_error",
        "budget_exceeded",
    ),
    ("sk-a-vendors", {"fallbacks": [MODEL]}, 403, "PERMISSION_DENIED", "permission_error", "fallback_not_allowed"),
    ("sk-a-vendors", {}, 401, "UNAUTHENTICATED", "authentication_error", "invalid_api_key"),
]


@pytest.mark.parametrize(("credential", "fields", "status", "grpc_code", "kind", "code"), REFUSALS)
async def test_every_row_of_the_credential_table(
    gateway: RunningGateway,
    doubles: DoublesServer,
    picture: bytes,
    credential: str,
    fields: dict[str, Any],
    status: int,
    grpc_code: str,
    kind: str,
    code: str,
) -> None:
    answer = post(gateway, picture, credential, **fields)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == (kind, code)
    assert (answer.headers.get("www-authenticate") == "Bearer") is (status == 401)

    failure = await call(gateway, picture, credential, **fields)
    assert failure is not None
    assert failure.code().name == grpc_code
    details = rpc_status.from_call(failure)
    info = error_details_pb2.ErrorInfo()
    assert details.details[0].Unpack(info)
    assert (info.reason, info.metadata["http_status"]) == (code.upper(), str(status))
    assert not doubles.state.requests()


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "x-bf-vk"])
@pytest.mark.parametrize("credential", [secret("plain"), TOKEN])
def test_a_credential_is_taken_from_any_of_its_headers(
    gateway: RunningGateway,
    doubles: DoublesServer,
    picture: bytes,
    header: str,
    credential: str,
) -> None:
    assert post(gateway, picture, credential, header=header).status_code == 200


def test_the_log_names_the_key(gateway: RunningGateway, doubles: DoublesServer, picture: bytes) -> None:
    request_id = post(gateway, picture, secret("plain")).headers["x-request-id"]
    (line,) = [line for line in gateway.log_lines("service.access") if line["id"] == request_id]
    assert line["caller"] == "plain"


def test_a_budget_that_is_used_up_says_when_there_is_room_again(
    gateway: RunningGateway,
    doubles: DoublesServer,
    picture: bytes,
) -> None:
    assert post(gateway, picture, secret("poor")).status_code == 200
    answer = post(gateway, picture, secret("poor"))
    assert answer.status_code == 402
    assert answer.json()["error"]["code"] == "budget_exceeded"
    assert 80_000 < int(answer.headers["retry-after"]) <= 90_000


def test_a_rate_limit_says_when_to_come_back_and_where_one_stands(
    gateway: RunningGateway,
    doubles: DoublesServer,
    picture: bytes,
) -> None:
    first, second = post(gateway, picture, secret("slow")), post(gateway, picture, secret("slow"))
    assert [first.headers[name] for name in RATE_HEADERS[:2]] == ["1", "0"]
    # The hour, and what is left of the sixtieth of it that the request was counted in.
    assert first.headers[RATE_HEADERS[2]].startswith(("1h0m", "1h1m0s"))
    assert second.status_code == 429
    assert second.json()["error"]["type"] == "rate_limit_error"
    assert 3590 < int(second.headers["retry-after"]) <= 3661
    assert [second.headers[name] for name in RATE_HEADERS[:2]] == ["1", "0"]


def test_requests_that_are_refused_for_their_faults_count_too(gateway: RunningGateway, picture: bytes) -> None:
    headers = {"authorization": f"Bearer {secret('careless')}"}
    faults: list[dict[str, Any]] = [
        {"data": {"n": "0"}, "files": {"image": picture}},
        {"data": {"n": "many"}, "files": {"image": picture}},
        {"data": {"model": "nobody/nothing"}, "files": {"image": picture}},
        {"data": {"model": MODEL}, "files": {"image": b"no picture"}},
        {"json": {"image": "?"}},
        {"content": b"{", "headers": {"content-type": "application/json"}},
    ]
    with httpx.Client(base_url=gateway.url, headers=headers, trust_env=False, timeout=20) as client:
        for number, fault in enumerate(faults, 1):
            answer = client.post(VARIATIONS, **fault)
            assert answer.status_code in (400, 404), answer.text
            assert answer.headers["x-ratelimit-remaining-requests"] == str(6 - number)
        answer = client.post(VARIATIONS, **faults[0])
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0


def test_a_stream_is_refused_before_it_begins(gateway: RunningGateway, picture: bytes) -> None:
    headers = {"authorization": f"Bearer {secret('disabled')}"}
    for path in (VARIATIONS, f"{VARIATIONS}:stream"):
        answer = httpx.post(f"{gateway.url}{path}", files={"image": picture}, headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "key_disabled")


def test_images_are_limited_by_their_number(
    gateway: RunningGateway,
    doubles: DoublesServer,
    picture: bytes,
) -> None:
    assert post(gateway, picture, secret("pictures"), n=2).status_code == 200
    assert post(gateway, picture, secret("pictures")).status_code == 429
    hopeless = post(gateway, picture, secret("pictures"), n=3)
    assert (hopeless.status_code, hopeless.json()["error"]["param"]) == (400, "n")


def test_every_answer_tells_where_one_stands(
    gateway: RunningGateway,
    doubles: DoublesServer,
    picture: bytes,
) -> None:
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        listed = client.get("/v1/models", headers={"authorization": f"Bearer {secret('watched')}"})
    answers = [post(gateway, picture, secret("watched"), n=99), listed, post(gateway, picture, secret("watched"))]
    assert [answer.status_code for answer in answers] == [400, 200, 200]
    assert [answer.headers[RATE_HEADERS[1]] for answer in answers] == ["99", "100", "98"]


def test_a_key_lists_what_it_may_use(gateway: RunningGateway) -> None:
    def listed(name: str) -> set[str]:
        headers = {"authorization": f"Bearer {secret(name)}"}
        answer = httpx.get(f"{gateway.url}/v1/models", headers=headers, trust_env=False)
        return {model["id"].partition("/")[0] for model in answer.json()["data"] if "/" in model["id"]}

    assert listed("narrow") == {"recraft"}
    assert {"recraft", "openai"} < listed("plain")


def test_a_link_is_a_permission_of_its_own(
    gateway: RunningGateway,
    doubles: DoublesServer,
    picture: bytes,
) -> None:
    url = post(gateway, picture, secret("plain"), response_format="url").json()["data"][0]["url"]
    assert httpx.get(url, trust_env=False).status_code == 200
    assert httpx.get(f"{gateway.url}/v1/models", trust_env=False).status_code == 401


# Replicas that share a store.


@pytest.fixture
def replicas(
    tmp_path: Path,
    doubles: DoublesServer,
    redis_server: RedisServer,
) -> Iterator[tuple[RunningGateway, RunningGateway]]:
    settings: dict[str, Any] = {
        "providers": {"recraft": section(doubles, "recraft")},
        "state": redis_server.url,
        "keys": [
            key("fifty", budgets=[{"usd": 2, "window": "1d"}]),
            key("ten", rate_limits=[{"requests": 10, "window": "1h"}]),
        ],
        "limits": {"concurrent_requests": 1000},
    }
    with (
        gateway_of_doubles(tmp_path / "one", doubles, **settings) as one,
        gateway_of_doubles(tmp_path / "two", doubles, **settings) as two,
    ):
        yield one, two


async def test_two_replicas_share_budgets_and_rates(
    replicas: tuple[RunningGateway, RunningGateway], picture: bytes
) -> None:
    async with httpx.AsyncClient(timeout=120, trust_env=False, limits=httpx.Limits(max_connections=100)) as client:

        async def ask(number: int, name: str) -> int:
            answer = await client.post(
                f"{replicas[number % 2].url}{VARIATIONS}",
                files={"image": ("photo.png", picture)},
                data={"model": MODEL, "size": "256x256"},
                headers={"authorization": f"Bearer {secret(name)}"},
            )
            return answer.status_code

        paid = await asyncio.gather(*(ask(number, "fifty") for number in range(200)))
        assert (paid.count(200), paid.count(402)) == (50, 150)
        counted = await asyncio.gather(*(ask(number, "ten") for number in range(40)))
        assert (counted.count(200), counted.count(429)) == (10, 30)


def test_a_store_that_goes_away_is_a_503_and_its_return_needs_nobody(
    tmp_path: Path,
    doubles: DoublesServer,
    own_redis_server: RedisServer,
    picture: bytes,
) -> None:
    providers = {"recraft": section(doubles, "recraft")}
    keys = [key("limited", budgets=[{"usd": 9, "window": "1d"}])]
    with gateway_of_doubles(tmp_path / "gateway", doubles, providers, keys=keys, state=own_redis_server.url) as gateway:
        assert post(gateway, picture, secret("limited")).status_code == 200
        own_redis_server.stop()
        refused = post(gateway, picture, secret("limited"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "state_unavailable")
        assert refused.headers["retry-after"]
        assert post(gateway, picture, secret("unknown")).status_code == 503
        own_redis_server.start()
        # As it is told to, a caller comes again.
        threading.Event().wait(int(refused.headers["retry-after"]))
        assert post(gateway, picture, secret("limited")).status_code == 200


def test_kill_9_in_mid_load_loses_nothing_that_was_settled(
    tmp_path: Path,
    doubles: DoublesServer,
    picture: bytes,
) -> None:
    providers = {"recraft": section(doubles, "recraft")}
    keys = [key("busy", budgets=[{"usd": 100, "window": "1d"}])]
    (tmp_path / "gateway.yaml").write_text(
        yaml.safe_dump({"providers": providers, "keys": keys, "engine": {"enabled": False}})
    )
    answered = 0
    with served(tmp_path) as (process, address):
        enough = threading.Event()

        def ask() -> int:
            """Asks for as long as somebody answers; how many answers there were."""
            answers = 0
            with grpc.insecure_channel(address) as channel:
                stub = image_variation_service_pb2_grpc.ImageVariationServiceStub(channel)
                while True:
                    try:
                        stub.CreateImageVariation(
                            pb.CreateImageVariationRequest(image=picture, model=MODEL, size="256x256"),
                            metadata=(("authorization", f"Bearer {secret('busy')}"),),
                            timeout=30,
                        )
                    except grpc.RpcError:
                        return answers
                    answers += 1
                    if answers == 5:
                        enough.set()

        with ThreadPoolExecutor(8) as threads:
            asking = [threads.submit(ask) for _ in range(8)]
            assert enough.wait(60)
            process.kill()
            answered = sum(each.result() for each in asking)

    with sqlite3.connect(tmp_path / ".gateway" / "governance.sqlite3") as connection:
        ((nanos,),) = connection.execute("SELECT sum(nanos) FROM spending").fetchall()
    connection.close()
    # Every request that was answered has paid; the eight that were under way may have, too.
    assert answered >= 5
    assert answered * 40_000_000 <= nanos <= (answered + 8) * 40_000_000


@contextlib.contextmanager
def served(directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The service without Envoy: its process, and the address of its gRPC side."""
    (port,) = free_ports(1)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'gen' / 'python'}",
        "GRPC_PORT": str(port),
    }
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve"], cwd=directory, env=environment, stdout=log, stderr=log
        )
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
        yield process, f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
