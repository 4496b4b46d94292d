"""What is written can be read by others, looks right, and says nothing beyond the picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.core.values import ImageFormat, Size
from service.imaging.encode import encode, encode_array
from service.imaging.inspect import ImageLimits, inspect
from service.imaging.picture import Picture

WRITTEN = (ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP, ImageFormat.GIF)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([3, 4]), st.integers(0, 2**32 - 1))
def test_png_is_lossless(width, height, channels, seed) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    encoded = encode_array(pixels, ImageFormat.PNG)
    assert encoded.size == Size(width, height)
    assert np.array_equal(np.asarray(opened(encoded.data)), pixels)


@pytest.mark.parametrize("output_format", WRITTEN)
def test_what_is_said_of_the_file_is_what_it_is(picture, output_format) -> None:
    encoded = encode(Picture.from_array(np.asarray(picture(50, 30))), output_format)
    facts = inspect(encoded.data, limits=ImageLimits())
    assert (facts.format, facts.size) == (encoded.format, encoded.size) == (output_format, Size(50, 30))
    difference = np.asarray(opened(encoded.data).convert("RGB"), int) - np.asarray(picture(50, 30), int)
    assert np.abs(difference).mean() < 12


def test_alpha_is_kept_where_there_can_be_one_and_is_white_elsewhere(picture) -> None:
    image = Picture.from_array(np.full((16, 16, 4), (10, 200, 30, 0), np.uint8))
    for output_format in (ImageFormat.PNG, ImageFormat.WEBP):
        assert opened(encode(image, output_format).data).getpixel((8, 8))[3] == 0
    assert opened(encode(image, ImageFormat.JPEG).data).getpixel((8, 8)) == (255, 255, 255)


def test_quality_trades_bytes(picture) -> None:
    for output_format in (ImageFormat.JPEG, ImageFormat.WEBP):
        sizes = [
            len(encode(Picture.from_array(np.asarray(picture(200, 200))), output_format, quality=quality).data)
            for quality in (50, 80, 95)
        ]
        assert sizes == sorted(sizes)


def test_arrays_that_are_views_are_encoded_as_they_look(picture) -> None:
    pixels = np.asarray(picture(40, 30))[::2, ::-1]
    assert np.array_equal(np.asarray(opened(encode_array(pixels, ImageFormat.PNG).data)), pixels)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (4, 4, 5), (0, 4, 3), (1, 4, 4, 3)])
def test_arrays_of_other_shapes_are_a_mistake(shape) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        encode_array(np.zeros(shape, np.uint8), ImageFormat.PNG)
    with pytest.raises(ValueError, match="expected uint8"):
        encode_array(np.zeros((4, 4, 3), np.float32), ImageFormat.PNG)
