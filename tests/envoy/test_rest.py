"""POST /v1/images/variations through the real Envoy, in both encodings."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from PIL import Image
from running_gateway import RunningGateway

VARIATIONS = "/v1/images/variations"
SIZES = ("256x256", "512x512", "1024x1024", "1792x1024", "1024x1792", "1536x1024", "1024x1536")


def by_form(client: httpx.Client, image: bytes, **fields: str) -> httpx.Response:
    return client.post(VARIATIONS, files={"image": ("photo", image)}, data=fields)


def by_json(client: httpx.Client, image: bytes, **fields: Any) -> httpx.Response:
    return client.post(VARIATIONS, json={"image": base64.b64encode(image).decode(), **fields})


def images(answer: httpx.Response) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(each["b64_json"]))) for each in answer.json()["data"]]


def test_no_field_but_the_image_is_needed(client: httpx.Client, photo: bytes) -> None:
    answer = by_form(client, photo)
    assert answer.status_code == 200
    assert answer.json()["data"][0]["url"].startswith(str(client.base_url).rstrip("/"))


def test_both_encodings_give_the_same_json(client: httpx.Client, small_png: bytes) -> None:
    wishes = {"n": 2, "seed": 7, "response_format": "b64_json", "size": "256x256"}
    form = by_form(client, small_png, **{name: str(value) for name, value in wishes.items()}).json()
    typed = by_json(client, small_png, **wishes).json()
    for answer in (form, typed):
        # The values that have to differ from one request to the next.
        assert re.fullmatch(r"var_[A-Za-z0-9]{24}", answer.pop("id"))
        assert answer.pop("created") > 1_700_000_000
        assert isinstance(answer["extra_fields"].pop("latency"), int)
        for attempt in answer["extra_fields"]["attempts"]:
            assert isinstance(attempt.pop("latency"), int)
    assert form == typed


def test_numbers_are_json_numbers_and_zeros_are_there(client: httpx.Client, small_png: bytes) -> None:
    answer = by_form(client, small_png, size="256x256").json()
    assert isinstance(answer["created"], int)
    assert answer["data"][0]["index"] == 0
    extra = answer["extra_fields"]
    assert isinstance(extra["latency"], int)
    assert (extra["chunk_index"], extra["fallback_index"], extra["cost_usd"]) == (0, 0, 0)
    assert extra["request_type"] == "image_variation"
    assert [attempt["outcome"] for attempt in extra["attempts"]] == ["success"]


@pytest.mark.parametrize("response_format", ["url", "b64_json"])
def test_an_image_has_a_link_or_bytes_never_both(client: httpx.Client, small_png: bytes, response_format: str) -> None:
    data = by_form(client, small_png, size="256x256", n="2", response_format=response_format).json()["data"]
    assert [set(each) for each in data] == [{response_format, "index"}] * 2


@pytest.mark.parametrize("size", SIZES)
def test_results_have_exactly_the_size_asked_for(client: httpx.Client, small_png: bytes, size: str) -> None:
    answer = by_form(client, small_png, size=size, response_format="b64_json")
    assert answer.json()["size"] == size
    assert ["{}x{}".format(*image.size) for image in images(answer)] == [size]


@pytest.mark.parametrize(("output_format", "pillow_name"), [("png", "PNG"), ("webp", "WEBP"), ("jpeg", "JPEG")])
def test_results_have_exactly_the_format_asked_for(
    client: httpx.Client, small_png: bytes, output_format: str, pillow_name: str
) -> None:
    answer = by_form(client, small_png, output_format=output_format, size="256x256", response_format="b64_json")
    assert answer.json()["output_format"] == output_format
    assert [image.format for image in images(answer)] == [pillow_name]


def test_ten_variations_are_ten_different_images(client: httpx.Client, small_png: bytes) -> None:
    answer = by_form(client, small_png, n="10", size="256x256", response_format="b64_json").json()
    assert [each["index"] for each in answer["data"]] == list(range(10))
    assert len({each["b64_json"] for each in answer["data"]}) == 10


def test_the_same_seed_gives_the_same_bytes_whatever_n(client: httpx.Client, small_png: bytes) -> None:
    def made(n: int) -> list[str]:
        answer = by_form(client, small_png, n=str(n), seed="42", size="256x256", response_format="b64_json")
        return [each["b64_json"] for each in answer.json()["data"]]

    assert made(3)[:2] == made(2)


@pytest.mark.parametrize("model", ["", "dall-e-2", "local/vary", "local/recompose", "local/relight", "local/restyle"])
def test_every_model_and_alias_answers(client: httpx.Client, small_png: bytes, model: str) -> None:
    answer = by_form(client, small_png, size="256x256", **({"model": model} if model else {}))
    assert answer.status_code == 200
    assert answer.headers["x-provider"] == "local"
    assert answer.headers["x-model"] == (model.partition("/")[2] or "vary")
    assert answer.headers["x-fallback-index"] == "0"
    assert answer.headers["x-cache"] == "off"


def test_a_link_serves_the_image_and_nothing_else_does(client: httpx.Client, small_png: bytes) -> None:
    link = httpx.URL(by_form(client, small_png, size="256x256").json()["data"][0]["url"])
    served = client.get(link)
    assert served.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(served.content)).size == (256, 256)

    forged = link.copy_set_param("signature", "0" * 64)
    prolonged = link.copy_set_param("expires", str(int(link.params["expires"]) + 1))
    other = link.copy_with(path=link.path.replace("/files/", "/files/..%2f"))
    for url in (forged, prolonged, other, link.copy_with(query=None)):
        refused = client.get(url)
        assert refused.status_code in (403, 404), url
        assert refused.headers["content-type"] == "application/json"
        assert refused.json()["error"]["type"] in ("permission_error", "invalid_request_error")


def test_a_result_is_served_in_parts_and_told_without_its_bytes(client: httpx.Client, small_png: bytes) -> None:
    link = by_form(client, small_png, size="256x256").json()["data"][0]["url"]
    whole = client.get(link)
    assert int(whole.headers["content-length"]) == len(whole.content)
    assert whole.headers["accept-ranges"] == "bytes"
    head = client.head(link)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]
    assert head.headers["content-type"] == "image/png"
    size = len(whole.content)
    for asked, part in (
        ("bytes=0-9", slice(0, 10)),
        ("bytes=10-", slice(10, None)),
        ("bytes=-7", slice(size - 7, None)),
    ):
        answer = client.get(link, headers={"range": asked})
        assert (answer.status_code, answer.content) == (206, whole.content[part])
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert answer.headers["content-range"].endswith(f"/{size}")
    assert client.get(link, headers={"range": "bytes=0-1,5-6"}).content == whole.content
    beyond = client.get(link, headers={"range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.json()["error"]["code"]) == (416, "range_not_satisfiable")


def test_a_result_can_be_varied_again_by_its_link(client: httpx.Client, small_png: bytes) -> None:
    link = by_form(client, small_png, size="256x256").json()["data"][0]["url"]
    again = client.post(VARIATIONS, json={"image_url": link, "size": "256x256"})
    assert again.status_code == 200, again.text
    expired = httpx.URL(link).copy_set_param("expires", "1700000000")
    refused = client.post(VARIATIONS, json={"image_url": str(expired), "size": "256x256"})
    # A changed link is nobody's: it is fetched as any other, and this address must not be.
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "image_url")


def test_a_compressed_body_is_refused_by_name(client: httpx.Client, small_png: bytes) -> None:
    body = json.dumps({"image": base64.b64encode(small_png).decode()}).encode()
    for encoding in ("gzip", "br", "zstd"):
        headers = {"content-type": "application/json", "content-encoding": encoding}
        answer = client.post(VARIATIONS, content=gzip.compress(body), headers=headers)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (
            415,
            "unsupported_media_type",
            "content-encoding",
        )
        assert encoding in error["message"]


@pytest.mark.parametrize("name", ["local/vary", "local%2Fvary", "dall-e-2"])
def test_one_model_can_be_asked_for(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/v1/models/{name}")
    assert (answer.status_code, answer.json()["id"]) == (200, name.replace("%2F", "/"))
    assert answer.json() in client.get("/v1/models").json()["data"]
    missing = client.get(f"/v1/models/{name}x")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_an_image_url_may_be_a_data_url(client: httpx.Client, small_png: bytes) -> None:
    url = "data:image/png;base64," + base64.b64encode(small_png).decode()
    answer = client.post(VARIATIONS, json={"image_url": url, "size": "256x256"})
    assert answer.status_code == 200


def test_the_first_of_several_images_is_used_and_said_so(client: httpx.Client, small_png: bytes) -> None:
    files = [("image[]", ("a.png", small_png)), ("image[]", ("b.png", small_png))]
    answer = client.post(VARIATIONS, files=files, data={"size": "256x256", "n": "1", "colour": "blue"})
    warnings = " ".join(answer.json()["extra_fields"]["warnings"])
    assert "2 images were given" in warnings
    assert "'colour'" in warnings


def test_a_knob_that_the_model_lacks_is_dropped_with_a_warning(client: httpx.Client, small_png: bytes) -> None:
    answer = by_form(client, small_png, quality="high", prompt="at night", size="256x256").json()
    warnings = " ".join(answer["extra_fields"]["warnings"])
    assert "quality" in warnings
    assert "prompt" in warnings


def test_fields_that_count_for_nothing_are_told(client: httpx.Client, small_png: bytes) -> None:
    image = base64.b64encode(small_png).decode()
    options = {"local": {}, "openai": {"moderation": "low"}}
    body = {
        "image": image,
        "siz": "256x256",
        "size": "256x256",
        "provider_options": options,
        "fallbacks": ["local/vary"],
    }
    form = {"siz": "256x256", "size": "256x256", "fallbacks": "local/relight", "provider_options": json.dumps(options)}
    for answer in (
        client.post(f"{VARIATIONS}?n=3&utm=1", json=body),
        client.post(f"{VARIATIONS}?n=3&utm=1", files={"image": ("a.png", small_png)}, data=form),
    ):
        assert len(answer.json()["data"]) == 1
        warnings = answer.json()["extra_fields"]["warnings"]
        assert "Unknown fields were ignored: 'siz' (did you mean size?)." in warnings
        assert "Query parameters are not fields, and were ignored: n. Fields go into the body." in warnings
        assert "provider_options for 'openai' were not used: it is not among the providers asked." in warnings


def test_no_header_of_grpc_leaks(client: httpx.Client, small_png: bytes) -> None:
    for answer in (by_form(client, small_png, size="256x256"), by_form(client, small_png, n="99")):
        assert not [name for name in answer.headers if name.startswith(("grpc", "x-error", "x-http"))]


def test_events_stream_as_they_happen(client: httpx.Client, small_png: bytes) -> None:
    with client.stream(
        "POST",
        f"{VARIATIONS}:stream",
        files={"image": ("photo", small_png)},
        data={"n": "3", "size": "256x256", "response_format": "b64_json"},
    ) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-cache", "no")
        assert not {"x-provider", "x-model", "x-fallback-index"} & set(answer.headers)
        lines = list(answer.iter_lines())
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert [line[7:] for line in lines if line.startswith("event: ")] == [event["type"] for event in events]
    kinds = [event["type"] for event in events]
    assert kinds[0] == "image_variation.attempt_started"
    assert kinds[1:4] == ["image_variation.image_completed"] * 3
    assert kinds[4:] == ["image_variation.completed"]
    assert sorted(event["image_completed"]["index"] for event in events[1:4]) == [0, 1, 2]
    assert "data" not in events[4]["completed"]


def test_models_are_listed_in_the_shape_of_openai(client: httpx.Client) -> None:
    answer = client.get("/v1/models").json()
    assert answer["object"] == "list"
    models = {model["id"]: model for model in answer["data"]}
    assert models["local/vary"]["capabilities"]["max_n"] == 10
    assert models["local/vary"]["capabilities"]["available"] is True
    assert models["dall-e-2"]["targets"] == ["local/vary"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_told(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_browsers_may_call(client: httpx.Client) -> None:
    answer = client.options(
        VARIATIONS,
        headers={
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        },
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "authorization" in answer.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("mine-1", lambda told: told == "mine-1"),
        ("forged\tline " + "x" * 300, lambda told: told.startswith("req_") and len(told) < 64),
        (None, lambda told: len(told) >= 16),
    ],
)
def test_a_sane_request_id_is_kept_and_any_other_replaced(
    client: httpx.Client, given: str | None, expected: Callable[[str], bool]
) -> None:
    answer = client.get("/v1/models", headers={"x-request-id": given} if given else {})
    assert expected(answer.headers["x-request-id"])


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 200),
        ("https://127.0.0.1", 200),
        ("http://[::1]:5173", 200),
        ("https://pages.test", 403),
        ("http://localhost.pages.test", 403),
        ("http://localhost:3000@pages.test", 403),
        ("null", 403),
    ],
)
def test_where_no_credential_is_needed_only_pages_of_this_machine_may_call(
    client: httpx.Client, origin: str, status: int
) -> None:
    answer = client.get("/v1/models", headers={"origin": origin})
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]["code"] == "origin_not_allowed"


def test_one_log_line_a_request_without_secrets_or_image_bytes(
    gateway: RunningGateway, client: httpx.Client, small_png: bytes
) -> None:
    secret = "sk-" + hashlib.sha256(b"log test").hexdigest()
    headers = {"authorization": f"Bearer {secret}", "x-request-id": "log-test-1"}
    answer = client.post(
        VARIATIONS, files={"image": ("a.png", small_png)}, data={"size": "256x256", "user": "someone"}, headers=headers
    )
    assert answer.status_code == 200
    client.get(answer.json()["data"][0]["url"])
    service = [line for line in gateway.log_lines("service.access") if line["id"] == "log-test-1"]
    assert len(service) == 1
    assert service[0]["outcome"] == "success"
    assert service[0]["provider"] == "local"
    assert isinstance(service[0]["milliseconds"], int)
    assert service[0]["user"] != "someone"
    for forbidden in (secret, "signature=", base64.b64encode(small_png)[:60].decode(), "someone"):
        assert forbidden not in gateway.log


def test_envoys_log_tells_the_method_that_the_caller_used(gateway: RunningGateway, client: httpx.Client) -> None:
    headers = {"x-request-id": "method-test-1", "x-envoy-original-method": "BREW"}
    assert client.get("/v1/models", headers=headers).status_code == 200
    end = time.monotonic() + 20
    while not (lines := [line for line in gateway.log_lines("envoy") if line["id"] == "method-test-1"]):
        assert time.monotonic() < end, gateway.log
        time.sleep(0.05)  # noqa: TID251 - waits for another process, not on an event loop
    assert [line["method"] for line in lines] == ["GET"]


def test_grpc_web_clients_are_served(client: httpx.Client) -> None:
    """Browsers' gRPC: a frame of a flag and a length, here of an empty message, and trailers as a last frame."""
    answer = client.post(
        "/imagevariations.v1.ModelService/ListModels",
        content=bytes(5),
        headers={"content-type": "application/grpc-web+proto", "x-grpc-web": "1"},
    )
    assert answer.headers["content-type"] == "application/grpc-web+proto"
    flag, length = answer.content[0], int.from_bytes(answer.content[1:5], "big")
    assert flag == 0
    assert b"local/vary" in answer.content[5 : 5 + length]
    assert b"grpc-status:0" in answer.content[5 + length :]
