"""The result cache as callers see it: headers, JSON, streams, links and deletion, through the real Envoy."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from openai import DefaultHttpxClient, OpenAI
from PIL import Image
from redis_server import RedisServer, redis_process  # noqa: F401
from running_gateway import RunningGateway, running_gateway

VARIATIONS = "/v1/images/variations"
ALICE, BOB = "sk-bf-" + "a" * 40, "sk-bf-" + "b" * 40
CONFIGURATION = f"""
default_route: local/recompose
cache: {{enabled: true}}
keys:
  - {{name: alice, value: {ALICE}}}
  - {{name: bob, value: {BOB}}}
"""


@pytest.fixture(scope="module")
def caching_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path_factory.mktemp("caching"), CONFIGURATION) as running:
        yield running


@pytest.fixture
def alice(caching_gateway: RunningGateway, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A caller; every test has a namespace of its own."""
    with caller(caching_gateway, ALICE, request.node.originalname) as client:
        yield client


@pytest.fixture
def bob(caching_gateway: RunningGateway, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with caller(caching_gateway, BOB, request.node.originalname) as client:
        yield client


def caller(gateway: RunningGateway, key: str, namespace: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {key}", "x-bf-cache-key": namespace}
    return httpx.Client(base_url=gateway.url, headers=headers, timeout=120, trust_env=False)


def ask(client: httpx.Client, image: bytes, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
    fields = {"response_format": "b64_json", "size": "256x256", **fields}
    answer = client.post(VARIATIONS, files={"image": ("photo", image)}, data=fields, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def debug(answer: httpx.Response) -> dict[str, Any]:
    told: dict[str, Any] = answer.json()["extra_fields"]["cache_debug"]
    return told


def again(image: bytes, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(image)).convert("RGB").save(file, image_format, **options)
    return file.getvalue()


def test_it_is_off_unless_configured(client: httpx.Client, small_png: bytes) -> None:
    for _ in range(2):
        answer = ask(client, small_png, seed="1")
        assert answer.headers["x-cache"] == "off"
        assert "cache_debug" not in answer.json()["extra_fields"]


def test_the_second_answer_comes_from_the_cache(alice: httpx.Client, small_png: bytes) -> None:
    made, found = ask(alice, small_png), ask(alice, small_png)

    assert [made.headers["x-cache"], found.headers["x-cache"]] == ["miss", "hit"]
    assert found.json()["data"] == made.json()["data"]
    assert found.headers["x-provider"] == "local"
    assert found.json()["extra_fields"]["cost_usd"] == 0
    assert debug(made) == {
        "cache_hit": False,
        "cache_id": debug(made)["cache_id"],
        "requested_provider": "local",
        "requested_model": "recompose",
        "input_tokens": 0,
        "threshold": 0.765,
    }
    assert debug(found) == {
        **debug(made),
        "cache_hit": True,
        "hit_type": "direct",
        "provider_used": "local",
        "model_used": "recompose",
        "similarity": 1.0,
    }


def test_pictures_are_recognised_in_other_files(alice: httpx.Client, small_png: bytes) -> None:
    ask(alice, small_png)
    lossless = ask(alice, again(small_png, "WEBP", lossless=True))
    lossy = ask(alice, again(small_png, "JPEG", quality=80))
    strict = ask(alice, again(small_png, "JPEG", quality=81), {"x-bf-cache-type": "direct"})
    assert debug(lossless)["hit_type"] == "direct"
    assert debug(lossy)["hit_type"] == "semantic"
    assert 0.9 < debug(lossy)["similarity"] <= 1
    assert strict.headers["x-cache"] == "miss"


def test_fresh_variations_can_be_had(alice: httpx.Client, small_png: bytes) -> None:
    made = ask(alice, small_png)
    fresh = ask(alice, small_png, {"x-bf-cache-no-store": "true"})
    assert fresh.headers["x-cache"] == "off"
    assert fresh.json()["data"] != made.json()["data"]
    assert ask(alice, small_png).json()["data"] == made.json()["data"]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-bf-cache-key", "a b"),
        ("x-bf-cache-ttl", "soon"),
        ("x-bf-cache-type", "both"),
        ("x-bf-cache-threshold", "2"),
        ("x-bf-cache-no-store", "maybe"),
    ],
)
def test_a_bad_header_is_named(alice: httpx.Client, small_png: bytes, header: str, value: str) -> None:
    answer = alice.post(VARIATIONS, files={"image": ("photo", small_png)}, headers={header: value})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "invalid_header", header)
    assert header in error["message"]


def test_links_are_made_anew(alice: httpx.Client, small_png: bytes) -> None:
    made, found = (ask(alice, small_png, response_format="url") for _ in range(2))
    assert found.headers["x-cache"] == "hit"
    first, second = (answer.json()["data"][0]["url"] for answer in (made, found))
    assert first != second
    assert alice.get(first).content == alice.get(second).content
    assert Image.open(io.BytesIO(alice.get(second).content)).size == (256, 256)


def test_streams_are_served_from_it_too(alice: httpx.Client, small_png: bytes) -> None:
    made = ask(alice, small_png, n="2")
    files, fields = {"image": ("p", small_png)}, {"response_format": "b64_json", "size": "256x256", "n": "2"}
    answer = alice.post(f"{VARIATIONS}:stream", files=files, data=fields)
    events = [json.loads(line[len("data: ") :]) for line in answer.text.splitlines() if line.startswith("data: ")]

    assert answer.headers["x-cache"] == "hit"
    completed = "image_variation.image_completed"
    assert [event["type"] for event in events] == [completed, completed, "image_variation.completed"]
    # On a stream each image tells who made it.
    maker = {"provider": "local", "model": "recompose"}
    assert [event["image_completed"] for event in events[:2]] == [each | maker for each in made.json()["data"]]
    assert events[2]["completed"]["extra_fields"]["cache_debug"]["hit_type"] == "direct"


def test_requests_at_once_are_worked_on_once(alice: httpx.Client, small_png: bytes) -> None:
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: ask(alice, small_png), range(6)))
    assert sorted(answer.headers["x-cache"] for answer in answers) == ["hit"] * 5 + ["miss"]
    assert len({answer.json()["data"][0]["b64_json"] for answer in answers}) == 1


def test_tenants_see_neither_results_nor_ids_of_each_other(
    alice: httpx.Client, bob: httpx.Client, small_png: bytes
) -> None:
    hers, his = ask(alice, small_png), ask(bob, small_png)
    assert his.headers["x-cache"] == "miss"
    assert debug(his)["cache_id"] != debug(hers)["cache_id"]

    refused = bob.delete(f"/v1/cache/{debug(hers)['cache_id']}")
    unknown = bob.delete(f"/v1/cache/{'0' * 32}")
    assert refused.status_code == unknown.status_code == 404
    assert refused.json() == unknown.json()
    assert ask(alice, small_png).headers["x-cache"] == "hit"


def test_an_entry_can_be_deleted(alice: httpx.Client, small_png: bytes) -> None:
    entry = debug(ask(alice, small_png))["cache_id"]
    answer = alice.delete(f"/v1/cache/{entry}")
    assert (answer.status_code, answer.json()) == (200, {"id": entry, "deleted": True})
    assert alice.delete(f"/v1/cache/{entry}").json()["error"]["code"] == "cache_entry_not_found"
    assert ask(alice, small_png).headers["x-cache"] == "miss"


def test_a_namespace_can_be_deleted(alice: httpx.Client, bob: httpx.Client, small_png: bytes) -> None:
    namespace = alice.headers["x-bf-cache-key"]
    for client, seed in ((alice, "1"), (alice, "2"), (bob, "1")):
        ask(client, small_png, seed=seed)
    ask(alice, small_png, {"x-bf-cache-key": "kept"}, seed="1")

    answer = alice.delete(f"/v1/cache/namespaces/{namespace}")

    assert answer.json() == {"namespace": namespace, "deleted_entries": 2}
    assert ask(alice, small_png, seed="1").headers["x-cache"] == "miss"
    assert ask(alice, small_png, {"x-bf-cache-key": "kept"}, seed="1").headers["x-cache"] == "hit"
    assert ask(bob, small_png, seed="1").headers["x-cache"] == "hit"
    assert alice.delete("/v1/cache/namespaces/a%20b").status_code == 400


@pytest.mark.parametrize("namespace", ["user:7", "me@example.org", "..a~"])
def test_namespaces_with_punctuation_can_be_deleted(alice: httpx.Client, small_png: bytes, namespace: str) -> None:
    ask(alice, small_png, {"x-bf-cache-key": namespace})
    answer = alice.delete(f"/v1/cache/namespaces/{quote(namespace, safe='')}")
    assert answer.json() == {"namespace": namespace, "deleted_entries": 1}


def test_deleting_needs_the_credential(caching_gateway: RunningGateway) -> None:
    answer = httpx.delete(f"{caching_gateway.url}/v1/cache/{'0' * 32}", trust_env=False)
    assert answer.status_code == 401


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_the_sdk_asks_with_its_extra_headers(caching_gateway: RunningGateway, small_png: bytes) -> None:
    with OpenAI(
        base_url=f"{caching_gateway.url}/v1", api_key=ALICE, http_client=DefaultHttpxClient(trust_env=False)
    ) as client:
        answers = [
            client.images.create_variation(
                image=small_png,
                size="256x256",
                response_format="b64_json",
                extra_headers={"x-bf-cache-key": "sdk", "x-bf-cache-ttl": "10m"},
            )
            for _ in range(2)
        ]
    first, second = (answer.data for answer in answers)
    assert first
    assert second
    assert base64.b64decode(first[0].b64_json or "") == base64.b64decode(second[0].b64_json or "")


def test_replicas_share_a_cache_in_redis(
    tmp_path_factory: pytest.TempPathFactory,
    redis_process: RedisServer,  # noqa: F811 - the fixture
    small_png: bytes,
) -> None:
    configuration = CONFIGURATION.replace("enabled: true", f"enabled: true, store: '{redis_process.url}'")
    directories = [tmp_path_factory.mktemp(name) for name in ("one", "other")]
    with (
        running_gateway(directories[0], configuration) as one,
        running_gateway(directories[1], configuration) as other,
        caller(one, ALICE, "ours") as here,
        caller(other, ALICE, "ours") as there,
    ):
        made = ask(here, small_png)
        assert made.headers["x-cache"] == "miss"
        found = ask(there, small_png)
        assert found.headers["x-cache"] == "hit"
        assert found.json()["data"] == made.json()["data"]
        near = ask(there, again(small_png, "JPEG", quality=80))
        assert debug(near)["hit_type"] == "semantic"
