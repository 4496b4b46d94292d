"""Vercel's AI SDK asks these vendors for an edit of an image as we do: method, path, credential and body.

It is a judge for vendors without an image SDK of their own in Python, and a second one for the others. It needs Node:
``make node-installed`` puts it into tests/contract/node.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from exchange_driver import drive
from provider_case import CREDENTIAL, SECRET, SOURCE, answer
from recording_server import RecordedRequest, RecordingServer, form_parts

from service.catalog import catalog
from service.core.calls import ProviderCall
from service.core.values import Size
from service.providers.base import Endpoint
from service.providers.http import SignableRequest
from service.providers.registry import TRANSLATORS
from service.transport.encoding import encode_body

NODE = Path(__file__).parent / "node"
ANSWER = answer({"created": 1, "data": [{"b64_json": "aGVsbG8="}], "images": []})
AUTHORIZATION = ("authorization", "x-key", "x-goog-api-key")

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE / "node_modules").exists(),
    reason="needs Node and the packages of tests/contract/node (make node-installed)",
)


@dataclass(frozen=True, slots=True)
class Judged:
    """One call, as ours and as the SDK's.

    Attributes:
        arguments: Of the SDK's generateImage, for the same wish.
        differs: Fields of the body that are not the same on purpose, and why.
    """

    vendor: str
    call: ProviderCall
    arguments: Mapping[str, Any]
    differs: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.vendor}/{self.call.model}"


def judged(
    vendor: str, model: str, arguments: Mapping[str, Any], differs: Mapping[str, str] | None = None, **wishes: Any
) -> Judged:
    call = dataclasses.replace(ProviderCall(model, SOURCE, prompt="Vary it."), **wishes)
    return Judged(vendor, call, arguments, differs or {})


CASES = (
    judged("openai", "gpt-image-2", {"n": 2, "size": "1024x1024"}, n=2, size=Size(1024, 1024)),
    judged(
        "xai",
        "grok-imagine-image-2.0",
        {"n": 2, "aspectRatio": "16:9", "providerOptions": {"xai": {"resolution": "1k"}}},
        n=2,
        size=Size(1376, 768),
    ),
    judged(
        "fal",
        "fal-ai/flux-2/edit",
        {"size": "1024x768", "seed": 7, "providerOptions": {"fal": {"useMultipleImages": True}}},
        size=Size(1024, 768),
        seed=7,
    ),
    judged("fal", "fal-ai/flux-1/dev/image-to-image", {"seed": 7}, seed=7),
    judged("replicate", "black-forest-labs/flux-dev", {"seed": 7}, seed=7),
    judged(
        "bfl",
        "flux-2-pro",
        {"size": "1024x768", "seed": 7},
        {"aspect_ratio": "It says the shape beside the size; the vendor documents width and height alone."},
        size=Size(1024, 768),
        seed=7,
    ),
    judged(
        "together",
        "black-forest-labs/FLUX.1-kontext-pro",
        {"size": "1024x768", "seed": 7},
        size=Size(1024, 768),
        seed=7,
    ),
    judged(
        "gemini",
        "gemini-3-pro-image",
        {"aspectRatio": "16:9"},
        {
            "contents": "It puts the words before the picture; order has no meaning there.",
            "generationConfig.responseModalities": "We let the model explain in words why it made no image.",
        },
        size=Size(1376, 768),
    ),
)


def asked_by_sdk(each: Judged) -> RecordedRequest:
    order = {
        "vendor": each.vendor,
        "key": SECRET,
        "model": each.call.model,
        "image": base64.b64encode(SOURCE.data).decode(),
        "prompt": each.call.prompt,
        **each.arguments,
    }
    with RecordingServer(ANSWER) as server:
        done = subprocess.run(
            ["node", "judge.mjs"],
            input=json.dumps({**order, "url": server.url}),
            cwd=NODE,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert server.requests, done.stderr
    return server.requests[0]


def asked_by_us(each: Judged) -> RecordedRequest:
    entry = catalog.load()[each.vendor]
    translator, endpoint = TRANSLATORS[entry.translator], Endpoint(each.vendor, "http://sdk.test", (), entry.options)
    profile = catalog.profile(entry, each.call.model)
    request = drive(translator.vary(each.call, profile, endpoint), ()).requests[0]
    assert request.body is not None
    body = encode_body(request.body)
    signable = SignableRequest(request.method, request.url, request.headers, body.content)
    headers = translator.authorization(signable, CREDENTIAL, endpoint, datetime(2026, 11, 27, tzinfo=UTC))
    content = b"".join(body.content) if isinstance(body.content, tuple) else body.content
    target = request.url.removeprefix("http://sdk.test")
    return RecordedRequest(request.method, target, {**headers, "content-type": body.content_type}, content)


def fields_of(request: RecordedRequest) -> dict[str, Any]:
    """The body's fields by name, those of objects as ``object.field``. A file is its media type and bytes."""
    content_type = request.headers["content-type"]
    if content_type.startswith("multipart/"):
        return {
            name: data.decode() if not media_type.startswith("image/") else (media_type, data)
            for name, _, media_type, data in form_parts(content_type, request.body)
        }
    return dict(_flat(json.loads(request.body)))


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, inner in value.items():
        if isinstance(inner, dict):
            flat += _flat(inner, f"{prefix}{name}.")
        else:
            flat.append((f"{prefix}{name}", inner))
    return flat


@pytest.mark.parametrize("each", CASES, ids=str)
def test_it_asks_as_we_do(each: Judged) -> None:
    sdk, ours = asked_by_sdk(each), asked_by_us(each)
    assert (ours.method, ours.target) == (sdk.method, sdk.target)
    for name in AUTHORIZATION:
        assert ours.headers.get(name) == sdk.headers.get(name), name
    theirs, mine = fields_of(sdk), fields_of(ours)
    # The SDK always says how many, one included; some of our facts say that there is no such field.
    counts = {"n", "num_images", "num_outputs", "input.num_outputs"}
    different = {name for name in theirs.keys() | mine.keys() if theirs.get(name) != mine.get(name)}
    unexpected = {name for name in different - set(each.differs) if name not in counts or theirs.get(name) != 1}
    assert {name: (mine.get(name), theirs.get(name)) for name in unexpected} == {}
    assert set(each.differs) <= different, "a difference that has gone is to be taken off the list"
