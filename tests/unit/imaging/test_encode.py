"""Encoded files can be read by others, look right, and say nothing beyond the picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.core.values import WRITTEN_FORMATS, ImageFormat, Size
from service.imaging.encode import encode, encode_array
from service.imaging.inspect import ImageLimits, inspect
from service.imaging.picture import Picture


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


@pytest.mark.parametrize("output_format", WRITTEN_FORMATS)
def test_what_is_said_of_the_file_is_what_it_is(picture, output_format) -> None:
    encoded = encode(Picture.from_array(np.asarray(picture(50, 30))), output_format)
    facts = inspect(encoded.data, limits=ImageLimits())
    assert (facts.format, facts.size) == (encoded.format, encoded.size) == (output_format, Size(50, 30))
    difference = np.asarray(opened(encoded.data).convert("RGB"), int) - np.asarray(picture(50, 30), int)
    assert np.abs(difference).mean() < 12


def test_alpha_is_kept_where_there_can_be_one_and_is_white_elsewhere(picture) -> None:
    image = Picture.from_array(np.full((16, 16, 4), (10, 200, 30, 0), np.uint8))
    for output_format in (ImageFormat.PNG, ImageFormat.WEBP):
        assert opened(encode(image, output_format).data).getchannel("A").getpixel((8, 8)) == 0
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


class TestCompression:
    def test_it_is_the_quality_of_jpeg_and_webp(self, picture) -> None:
        source = Picture.from_array(np.asarray(picture(200, 200)))
        for output_format in (ImageFormat.JPEG, ImageFormat.WEBP):
            sizes = [len(encode(source, output_format, compression=each).data) for each in (0, 30, 60, 90, 100)]
            assert sizes == sorted(sizes)
            asked = encode(source, output_format, compression=60)
            assert asked == encode(source, output_format, quality=60)

    def test_png_loses_nothing_at_any(self, picture) -> None:
        pixels = np.asarray(picture(200, 200))
        made = [encode_array(pixels, ImageFormat.PNG, compression=each).data for each in (0, 50, 100)]
        assert len(made[0]) > len(made[1]) >= len(made[2])
        assert all(np.array_equal(np.asarray(opened(each)), pixels) for each in made)

    @pytest.mark.parametrize("compression", [-1, 101])
    def test_outside_of_its_range_it_is_a_mistake(self, picture, compression) -> None:
        with pytest.raises(ValueError, match="from 0 to 100"):
            encode_array(np.asarray(picture(9, 9)), ImageFormat.JPEG, compression=compression)


def test_a_png_says_that_it_is_srgb(picture) -> None:
    for pixels in (np.asarray(picture(9, 9)), np.zeros((9, 9, 4), np.uint8)):
        assert opened(encode_array(pixels, ImageFormat.PNG).data).info["srgb"] == 0


@pytest.mark.parametrize("output_format", [ImageFormat.HEIC, ImageFormat.AVIF, ImageFormat.TIFF, ImageFormat.BMP])
def test_formats_that_are_only_read_are_a_mistake(picture, output_format) -> None:
    with pytest.raises(ValueError, match="not made here"):
        encode_array(np.asarray(picture(9, 9)), output_format)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(1, 90), st.sampled_from([3, 4]), st.sampled_from(range(1, 9)))
def test_tall_pictures_and_every_level_survive_the_strips(height, width, channels, level) -> None:
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, channels), np.uint8)
    encoded = encode_array(pixels, ImageFormat.PNG, compression=round(level * 100 / 9))
    assert np.array_equal(np.asarray(opened(encoded.data)), pixels)
