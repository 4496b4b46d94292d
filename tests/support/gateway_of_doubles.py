"""A whole gateway whose providers are the doubles, and what tests ask it.

Every test file that uses it has a gateway of its own, with one section a case, all at the same few doubles: what one
test does to a section (a key that is at rest, say) is nothing to the next.
"""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml
from PIL import Image
from running_gateway import RunningGateway, running_gateway

from tests.doubles.__main__ import configuration
from tests.doubles.server import DoublesServer

VARIATIONS = "/v1/images/variations"
SIZE = "256x256"
# Quick, free of trouble, and not what any test has fail: the usual target to fall back to.
FALLBACK = "deepinfra/black-forest-labs/FLUX-1-Redux-dev"


def section(server: DoublesServer, vendor: str, *, keys: int = 1, **changes: Any) -> dict[str, Any]:
    """The providers' section for a vendor's double, as ``make run-doubles`` prints it, with the first of its keys."""
    double = server.state.doubles[vendor]
    printed = {"type": vendor, **configuration((double,), server.url)["providers"][vendor]}
    return {**printed, "keys": printed["keys"][:keys], **changes}


@contextlib.contextmanager
def gateway_of_doubles(
    directory: Path, server: DoublesServer, providers: Mapping[str, Any], **settings: Any
) -> Iterator[RunningGateway]:
    """A gateway with these providers, a fallback and no engine; afterwards no key may be in its or Envoy's log."""
    document = {
        "providers": {"deepinfra": section(server, "deepinfra"), **providers},
        "default_route": FALLBACK,
        "engine": {"enabled": False},
        # One wait of a few milliseconds where something is tried again, so that tests need not wait either.
        "retries": {"max": 0, "backoff": "10ms"},
        # Failures are what these tests are about: none is to rest unless a test is about that.
        "breaker": {"failures": 1000},
        **settings,
    }
    with running_gateway(directory, yaml.safe_dump(document)) as gateway:
        yield gateway
        assert_no_secret(gateway.log, server)


def secrets_of(server: DoublesServer) -> list[str]:
    """Every credential that a double accepts or signs with."""
    doubles = server.state.doubles.values()
    return [secret for double in doubles for secret in (*double.accepted_keys, *double.key_parts.values())]


def assert_no_secret(text: str, server: DoublesServer) -> None:
    for secret in secrets_of(server):
        assert secret not in text, "a key has leaked"
        assert base64.b64encode(secret.encode()).decode() not in text, "a key has leaked in base64"


class Caller:
    """Sends requests through Envoy; no answer may hold a key of a provider."""

    def __init__(self, gateway: RunningGateway, server: DoublesServer, image: bytes) -> None:
        self._server = server
        self.image = image
        self.client = httpx.Client(base_url=gateway.url, timeout=60, trust_env=False)

    def ask(
        self, model: str, *fallbacks: str, headers: Mapping[str, str] | None = None, **fields: str
    ) -> httpx.Response:
        """Variations of a small picture, inline unless ``response_format`` says otherwise."""
        data = {"model": model, "size": SIZE, "response_format": "b64_json", **fields}
        answer = self.client.post(
            VARIATIONS,
            files={"image": ("photo.png", self.image)},
            data={**data, "fallbacks": list(fallbacks)},
            headers=dict(headers or {}),
        )
        assert_no_secret(answer.text + str(answer.headers.raw), self._server)
        return answer


def pictures(answer: httpx.Response) -> list[Image.Image]:
    """The images of an answer that has them inline."""
    assert answer.status_code == 200, answer.text
    return [Image.open(io.BytesIO(base64.b64decode(each["b64_json"]))) for each in answer.json()["data"]]


def attempts(answer: httpx.Response) -> list[tuple[str, str, int | None]]:
    """Provider, outcome and status of every attempt, in order."""
    told = answer.json()["extra_fields"]["attempts"]
    return [(attempt["provider"], attempt["outcome"], attempt.get("status")) for attempt in told]


def told_maker(answer: httpx.Response) -> tuple[str, str, int]:
    """The maker of the images: provider, model and index in the route, on which headers and body agree."""
    body = answer.json()
    extra = body["extra_fields"]
    told = (extra["provider"], body["model"], extra["fallback_index"])
    headers = answer.headers
    assert (headers["x-provider"], headers["x-model"], int(headers["x-fallback-index"])) == told
    return told


def asked(server: DoublesServer) -> list[str]:
    """The doubles that were asked to do work, in order, once for each time."""
    return [request.vendor for request in server.state.requests() if request.method == "POST"]
