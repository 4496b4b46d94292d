"""Real image files, made once a session."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.imaging.inspect import ImageLimits


def _picture(width: int, height: int) -> Image.Image:
    """A colourful gradient with red on the left, green at the top and a little noise: no two sides look alike."""
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    noise = np.random.default_rng(7).normal(0, 4, (height, width, 3))
    channels = np.stack((255 * (1 - across), 255 * (1 - down), 120 + 80 * np.sin(12 * across * down)), axis=-1)
    return Image.fromarray((channels + noise).clip(0, 255).astype(np.uint8))


def _file(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def limits() -> ImageLimits:
    return ImageLimits()


@pytest.fixture(scope="session")
def picture() -> Callable[[int, int], Image.Image]:
    """Makes an RGB picture of a width and a height."""
    return _picture


@pytest.fixture(scope="session")
def file() -> Callable[..., bytes]:
    """Encodes a picture with Pillow: (image, format name, Pillow's options)."""
    return _file


@pytest.fixture(scope="session", params=["PNG", "JPEG", "WEBP", "GIF"])
def plain_file(request: pytest.FixtureRequest) -> bytes:
    """A 120x80 file of each format, in turn."""
    return _file(_picture(120, 80), request.param)
