"""One gateway for all tests of a worker, and pictures to send it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from doubles_server import doubles, doubles_process  # noqa: F401  # fixtures
from PIL import Image
from running_gateway import REPOSITORY, RunningGateway, running_gateway


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """As it comes: no configuration, no key."""
    with running_gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=120, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A real photo, as a JPEG file."""
    return (REPOSITORY / "samples" / "coffee.jpg").read_bytes()


@pytest.fixture(scope="session")
def small_png(photo: bytes) -> bytes:
    """The same photo small, as a PNG file: quick to vary."""
    return encoded(Image.open(io.BytesIO(photo)).convert("RGB").resize((160, 120)))


@pytest.fixture(scope="session")
def node_directory() -> Path:
    return Path(__file__).parent / "node"


def encoded(image: Image.Image, image_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def large_photo() -> bytes:
    """A PNG file of about 20 MB: noise does not compress."""
    pixels = np.random.default_rng(7).integers(0, 256, (2600, 2600, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels))
