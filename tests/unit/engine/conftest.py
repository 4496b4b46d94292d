"""Photographs to vary. They are part of the scikit-image package; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import skimage
from PIL import Image

from service.core.values import Size
from service.engine import Source

Pixels = npt.NDArray[np.uint8]
DATA = Path(skimage.__file__).parent / "data"
SIDE = 320
SQUARE = Size(SIDE, SIDE)


@cache
def _photo(name: str) -> Pixels:
    with Image.open(DATA / name) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS))


@cache
def _source(name: str) -> Source:
    return Source.analyse(_photo(name))


@pytest.fixture
def photo() -> Callable[[str], Pixels]:
    """A photograph by file name, as 320 x 320 pixels."""
    return _photo


@pytest.fixture
def analysed() -> Callable[[str], Source]:
    """The same photograph, analysed."""
    return _source


@pytest.fixture
def square() -> Size:
    """The size of the photographs."""
    return SQUARE


@pytest.fixture
def page() -> Pixels:
    """A scanned page of text, in its own size."""
    with Image.open(DATA / "page.png") as image:
        return np.asarray(image.convert("RGB"))
