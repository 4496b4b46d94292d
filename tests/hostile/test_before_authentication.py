"""Callers without a credential where one is needed: refused by their headers, and no byte of a body is kept."""

from __future__ import annotations

import httpx
import pytest
from attacked_gateway import KEY
from openai import AuthenticationError, OpenAI
from raw_http import BOUNDARY, VARIATIONS, connected, read_answer, request_head
from running_gateway import RunningGateway

FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
JSON = {"content-type": "application/json"}
STRANGERS = [{}, {"authorization": "Bearer sk-bf-" + "0" * 64}, {"x-api-key": "nobody's"}]


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("path", [VARIATIONS, f"{VARIATIONS}:stream"])
@pytest.mark.parametrize("content", [FORM, JSON])
def test_strangers_are_refused_before_they_send_a_body(
    guarded: RunningGateway, path: str, content: dict[str, str], stranger: dict[str, str]
) -> None:
    head = request_head(path, headers={**content, **stranger, "content-length": "51000000", "x-request-id": "held-1"})
    with connected(guarded.url) as connection:
        connection.sendall(head)
        answer = read_answer(connection)
    assert answer.status == 401
    assert (answer.error["type"], answer.error["code"]) == ("authentication_error", "invalid_api_key")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-request-id"] == "held-1"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_a_client_that_sends_on_anyway_reads_the_refusal(guarded: RunningGateway, upload: bytes) -> None:
    for size in (len(upload), 20_000_000):
        client = OpenAI(base_url=f"{guarded.url}/v1", api_key="nobody's", max_retries=0)
        with client, pytest.raises(AuthenticationError):
            client.images.create_variation(image=upload.ljust(size, b"\0"))


def test_the_bearer_of_a_key_is_served_and_logged_once(guarded: RunningGateway, upload: bytes) -> None:
    headers = {"authorization": f"Bearer {KEY}", "x-request-id": "bearer-1"}
    files = {"image": ("a.png", upload)}
    answer = httpx.post(f"{guarded.url}{VARIATIONS}", files=files, headers=headers, timeout=20, trust_env=False)
    assert answer.status_code == 200
    assert [line["method"] for line in guarded.log_lines("service.access") if line["id"] == "bearer-1"] == [
        "CreateImageVariationFromForm"
    ]
