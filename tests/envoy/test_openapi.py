"""The description of the REST surface, as it is served."""

from __future__ import annotations

import json

import httpx
from running_gateway import REPOSITORY


def test_the_document_is_served_as_it_is_committed(client: httpx.Client) -> None:
    answer = client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == json.loads((REPOSITORY / "gen" / "openapi" / "openapi.json").read_text(encoding="utf-8"))
    assert answer.json()["openapi"].startswith("3.1.")


def test_there_is_a_page_to_read_it(client: httpx.Client) -> None:
    answer = client.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for path in client.get("/openapi.json").json()["paths"]:
        assert f"<code>{path}</code>" in answer.text


def test_every_path_in_it_is_there(client: httpx.Client) -> None:
    for path, verbs in client.get("/openapi.json").json()["paths"].items():
        for verb in verbs:
            answer = client.request(verb, path.replace("{", "x").replace("}", "x"))
            nothing = answer.status_code == 404 and answer.json()["error"]["code"] == "not_found"
            assert not nothing, (verb, path, answer.text)
