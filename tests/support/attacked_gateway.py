"""Gateways to attack, with a provider that costs nothing and takes no time."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from PIL import Image
from running_gateway import RunningGateway, running_gateway

from tests.doubles.framework import Call, Operation, Reply, VendorDouble, key_in_header
from tests.doubles.server import DoublesServer

KEY = "sk-bf-" + hashlib.sha256(b"the one key of the guarded gateway").hexdigest()


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def noise(width: int, height: int) -> bytes:
    """A PNG file of about three bytes a pixel: noise does not compress."""
    return png(np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="session")
def small_image() -> bytes:
    return png(np.asarray(Image.linear_gradient("L").resize((64, 64))))


@pytest.fixture(scope="session")
def upload() -> bytes:
    """An image of the usual size of an upload: 1.5 MB."""
    return noise(710, 710)


LARGE = noise(1024, 1024)
"""The provider's answer: 3.1 MB, so that four of them are 12.6 MB, 16.8 MB in base64."""


async def four_large_pictures(call: Call) -> Reply:
    picture = base64.b64encode(LARGE).decode()
    return Reply(json={"data": [{"b64_json": picture}] * 4})


@pytest.fixture(scope="session")
def provider() -> Iterator[DoublesServer]:
    """A provider that answers at once, whatever it is asked for, with four large pictures."""
    double = VendorDouble(
        name="fixed",
        operations=(Operation("POST", "/images/variations", four_large_pictures),),
        authenticate=key_in_header("Authorization", "Bearer "),
        error=lambda status, message: Reply(status, {"error": message}),
        model="any",
    )
    with DoublesServer([double]) as server:
        yield server


def configuration(provider: DoublesServer, **settings: Any) -> str:
    double = provider.state.doubles["fixed"]
    section = {"type": "deepinfra", "base_url": provider.base_url("fixed"), "keys": list(double.accepted_keys)}
    return yaml.safe_dump(
        {
            "providers": {"fixed": section},
            "default_route": "fixed/any",
            "engine": {"enabled": False},
            "cache": {"enabled": True},
            **settings,
        }
    )


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, provider: DoublesServer) -> Iterator[RunningGateway]:
    """A gateway with a cache, open to everybody on this machine."""
    with running_gateway(tmp_path_factory.mktemp("open"), configuration(provider)) as running:
        yield running


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory, provider: DoublesServer) -> Iterator[RunningGateway]:
    """A gateway that lets in the bearer of one key."""
    document = configuration(provider, keys=[{"name": "one", "value": KEY}])
    with running_gateway(tmp_path_factory.mktemp("guarded"), document) as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=20, trust_env=False) as client:
        yield client
