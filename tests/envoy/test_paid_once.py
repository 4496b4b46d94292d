"""Nothing is paid twice because somebody sends a request again: counted at the provider, with unmodified clients."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import openai
import pytest
import yaml
from gateway_of_doubles import SIZE, VARIATIONS, asked, gateway_of_doubles, section
from imagevariations.v1 import image_variation_pb2, image_variation_service_pb2_grpc
from openai import OpenAI
from running_gateway import RunningGateway, free_ports

from tests.doubles.server import DoublesServer

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
MODEL = "openai/gpt-image-2"
# Work that may have been done, and billed, by the time that it failed.
PAID = ("reset_mid_body", "malformed_json", "reset_before_headers")
# The failures after which meshes and careful gRPC clients send again:
# https://istio.io/latest/docs/concepts/traffic-management/#retries
ISTIO = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
EXTENSIONS = "type.googleapis.com/envoy.extensions"
RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.02s",
                "backoffMultiplier": 1,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, doubles_process: DoublesServer) -> Iterator[RunningGateway]:
    away = {"type": "openai", "base_url": f"http://127.0.0.1:{free_ports(1)[0]}/v1", "keys": ["sk-away"]}
    providers = {"openai": section(doubles_process, "openai"), "away": away}
    with gateway_of_doubles(tmp_path_factory.mktemp("once"), doubles_process, providers) as running:
        yield running


@pytest.fixture(scope="module")
def sidecar(gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """An Envoy with Istio's default retries before the gateway: its addresses for HTTP and for gRPC."""
    http_port, grpc_port = free_ports(2)
    path = tmp_path_factory.mktemp("sidecar") / "envoy.yaml"
    listeners = [
        _listener("http", http_port, int(gateway.url.rpartition(":")[2]), http2=False),
        _listener("grpc", grpc_port, int(gateway.grpc.rpartition(":")[2]), http2=True),
    ]
    document = {
        "static_resources": {
            "listeners": [listener for listener, _ in listeners],
            "clusters": [cluster for _, cluster in listeners],
        }
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    envoy = Path(sys.executable).with_name("envoy")
    process = subprocess.Popen([envoy, "-c", path, "--use-dynamic-base-id", "--concurrency", "1", "-l", "error"])
    try:
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{http_port}/readyz", trust_env=False).status_code == 200:
                    break
            assert time.monotonic() < end, "the sidecar did not become ready"
            time.sleep(0.05)  # noqa: TID251 - waits for another process, not on an event loop
        yield f"http://127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}"
    finally:
        process.terminate()
        process.wait(20)


def _listener(name: str, port: int, upstream: int, *, http2: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    def address(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    manager = {
        "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": name,
                    "domains": ["*"],
                    "include_request_attempt_count": True,
                    "retry_policy": {"retry_on": ISTIO, "num_retries": 2, "retriable_status_codes": [503]},
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "30s"}}],
                }
            ]
        },
    }
    options = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options" if http2 else "http_protocol_options": {}},
        }
    }
    endpoint = {"endpoint": {"address": address(upstream)}}
    return (
        {
            "name": name,
            "address": address(port),
            "filter_chains": [
                {
                    "filters": [
                        {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
                    ]
                }
            ],
        },
        {
            "name": name,
            "type": "STATIC",
            "typed_extension_protocol_options": options,
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        },
    )


def send(
    url: str, image: bytes, path: str = VARIATIONS, *, headers: dict[str, str] | None = None, **fields: str
) -> Any:
    data = {"model": MODEL, "size": SIZE, "response_format": "b64_json", **fields}
    files = {"image": ("photo.png", image)}
    return httpx.post(url + path, files=files, data=data, headers=headers, timeout=60, trust_env=False)


@pytest.mark.parametrize("failure", PAID)
def test_the_python_sdk_asks_once(
    gateway: RunningGateway, doubles: DoublesServer, small_png: bytes, failure: str
) -> None:
    doubles.state.fail("openai", failure)
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="any") as client, pytest.raises(openai.APIStatusError) as caught:
        client.images.create_variation(image=small_png, model=MODEL, size="256x256")
    assert (caught.value.status_code, caught.value.response.headers["x-should-retry"]) == (502, "false")
    assert asked(doubles) == ["openai"]


@pytest.mark.parametrize("failure", PAID)
def test_the_node_sdk_asks_once(
    gateway: RunningGateway,
    doubles: DoublesServer,
    small_png: bytes,
    failure: str,
    node_directory: Path,
    tmp_path: Path,
) -> None:
    if not (node_directory / "node_modules" / "openai").is_dir():
        pytest.skip("the Node SDK is not installed: `make test` installs it where npm is")
    (tmp_path / "a.png").write_bytes(small_png)
    doubles.state.fail("openai", failure)
    script = (
        'import fs from "node:fs"; import OpenAI from "openai";'
        f'const client = new OpenAI({{apiKey: "any", baseURL: "{gateway.url}/v1"}});'
        f'const image = fs.createReadStream("{tmp_path}/a.png");'
        f'try {{ await client.images.createVariation({{image, model: "{MODEL}"}}); }}'
        "catch (error) { console.log(error.status); }"
    )
    command = ["node", "--input-type=module", "--eval", script]
    told = subprocess.run(command, cwd=node_directory, capture_output=True, text=True, timeout=60, check=False)
    assert told.stdout.strip() == "502", told.stderr
    assert asked(doubles) == ["openai"]


@pytest.mark.parametrize("failure", PAID)
def test_a_grpc_client_with_retries_asks_once(
    gateway: RunningGateway, doubles: DoublesServer, small_png: bytes, failure: str
) -> None:
    doubles.state.fail("openai", failure)
    error = grpc_failure(gateway.grpc, small_png, MODEL)
    assert error.code() is grpc.StatusCode.UNKNOWN
    assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "-1"
    assert asked(doubles) == ["openai"]


@pytest.mark.parametrize("failure", PAID)
def test_a_sidecar_asks_once(sidecar: tuple[str, str], doubles: DoublesServer, small_png: bytes, failure: str) -> None:
    over_http, over_grpc = sidecar
    doubles.state.fail("openai", failure)
    assert send(over_http, small_png).status_code == 502
    assert asked(doubles) == ["openai"]
    assert grpc_failure(over_grpc, small_png, MODEL).code() is grpc.StatusCode.UNKNOWN
    assert asked(doubles) == ["openai"] * 2


def test_what_surely_did_not_run_may_be_sent_again(gateway: RunningGateway, small_png: bytes) -> None:
    answer = send(gateway.url, small_png, model="away/gpt-image-2")
    assert (answer.status_code, answer.headers["x-should-retry"], answer.headers["retry-after"]) == (503, "true", "1")
    error = grpc_failure(gateway.grpc, small_png, "away/gpt-image-2")
    assert error.code() is grpc.StatusCode.UNAVAILABLE


def grpc_failure(address: str, image: bytes, model: str) -> Any:
    options = [("grpc.service_config", json.dumps(RETRIES)), ("grpc.enable_retries", 1)]
    request = image_variation_pb2.CreateImageVariationRequest(image=image, model=model, size=SIZE)
    with grpc.insecure_channel(address, options) as channel, pytest.raises(grpc.RpcError) as caught:
        image_variation_service_pb2_grpc.ImageVariationServiceStub(channel).CreateImageVariation(request, timeout=60)
    return caught.value


def test_a_request_with_an_idempotency_key_is_done_once(
    gateway: RunningGateway, doubles: DoublesServer, small_png: bytes
) -> None:
    headers = {"idempotency-key": "one"}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: send(gateway.url, small_png, headers=headers), range(4)))
    assert asked(doubles) == ["openai"]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert [answer.headers.get("idempotency-replayed") for answer in answers].count("true") == 3
    # In the other encoding it is the same request; another one is refused, another credential's is another one.
    as_json = {
        "image": base64.b64encode(small_png).decode(),
        "model": MODEL,
        "size": SIZE,
        "response_format": "b64_json",
    }
    again = httpx.post(gateway.url + VARIATIONS, json=as_json, headers=headers, trust_env=False, timeout=60)
    assert again.content == answers[0].content
    other = send(gateway.url, small_png, headers=headers, n="2")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
    assert other.json()["error"]["type"] == "idempotency_error"
    assert asked(doubles) == ["openai"]
    stranger = send(gateway.url, small_png, headers={**headers, "authorization": "Bearer sk-else"})
    assert stranger.headers.get("idempotency-replayed") is None


def test_a_stream_with_an_idempotency_key_tells_its_events_again(
    gateway: RunningGateway, doubles: DoublesServer, small_png: bytes
) -> None:
    headers = {"idempotency-key": "two"}
    first = send(gateway.url, small_png, f"{VARIATIONS}:stream", headers=headers, n="2")
    again = send(gateway.url, small_png, f"{VARIATIONS}:stream", headers=headers, n="2")
    assert first.content == again.content
    assert first.content.count(b"event: image_variation.image_completed\n") == 2
    assert again.headers["idempotency-replayed"] == "true"
    assert asked(doubles) == ["openai"]


def test_a_failure_that_may_be_billed_is_told_again_and_no_other(
    gateway: RunningGateway, doubles: DoublesServer, small_png: bytes
) -> None:
    doubles.state.fail("openai", "malformed_json")
    for _ in range(2):
        answer = send(gateway.url, small_png, headers={"idempotency-key": "three"})
        assert (answer.status_code, answer.headers["x-should-retry"]) == (502, "false")
    assert asked(doubles) == ["openai"]
    for _ in range(2):
        answer = send(gateway.url, small_png, headers={"idempotency-key": "four"}, model="away/gpt-image-2")
        assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (503, None)


def test_work_goes_on_for_the_next_try_of_a_caller_that_gave_up(
    gateway: RunningGateway, doubles: DoublesServer, small_png: bytes
) -> None:
    doubles.state.fail("openai", "slow", seconds=2)
    headers = {"idempotency-key": "five"}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            gateway.url + VARIATIONS,
            files={"image": ("photo.png", small_png)},
            data={"model": MODEL, "size": SIZE, "response_format": "b64_json"},
            headers=headers,
            timeout=1,
            trust_env=False,
        )
    again = send(gateway.url, small_png, headers=headers)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert asked(doubles) == ["openai"]


def test_a_sidecars_next_attempt_joins_the_first(
    gateway: RunningGateway, doubles: DoublesServer, small_png: bytes
) -> None:
    answers = [
        send(gateway.url, small_png, headers={"x-request-id": "mesh-1", "x-envoy-attempt-count": str(attempt)})
        for attempt in (1, 2)
    ]
    assert answers[0].content == answers[1].content
    assert asked(doubles) == ["openai"]


def test_the_time_that_a_sidecar_waits_is_our_deadline(
    gateway: RunningGateway, doubles: DoublesServer, small_png: bytes
) -> None:
    doubles.state.fail("openai", "slow", seconds=5)
    answer = send(gateway.url, small_png, headers={"x-envoy-expected-rq-timeout-ms": "400"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")


def test_an_answer_is_kept_over_a_restart(tmp_path: Path, doubles: DoublesServer, small_png: bytes) -> None:
    answers = []
    for _ in range(2):
        with gateway_of_doubles(tmp_path, doubles, {"openai": section(doubles, "openai")}) as running:
            answers.append(send(running.url, small_png, headers={"idempotency-key": "six"}))
    assert answers[0].content == answers[1].content
    assert asked(doubles) == ["openai"]
