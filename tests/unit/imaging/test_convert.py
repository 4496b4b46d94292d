"""Inputs are fitted to a model, results to what was asked for; what needs no change is not changed."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.catalog.profile import Profile
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Fit, ImageFormat, Size
from service.imaging.convert import Wish, finish, prepare_input
from service.imaging.decode import decode
from service.imaging.inspect import ImageLimits, inspect

LIMITS = ImageLimits()
ANY = Profile()
SECRET = "48.8583N"


def exif(orientation: int = 1) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010E] = SECRET
    return block


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)


class TestPrepareInput:
    @pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
    def test_a_file_that_complies_passes_untouched(self, picture, file, file_format) -> None:
        data = file(picture(120, 80), file_format)
        prepared = prepare_input(data, ANY, limits=LIMITS)
        assert prepared.data is data
        assert (prepared.format.value, prepared.size) == (file_format.lower(), Size(120, 80))

    @pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
    def test_metadata_is_cut_out_without_loss(self, picture, file, file_format) -> None:
        data = file(picture(120, 80), file_format, exif=exif())
        prepared = prepare_input(data, ANY, limits=LIMITS)
        assert SECRET.encode() in data
        assert SECRET.encode() not in prepared.data
        assert np.array_equal(pixels(prepared.data), pixels(data))

    @pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
    def test_an_orientation_is_applied(self, picture, file, file_format) -> None:
        upright = picture(120, 80)
        data = file(upright.transpose(Image.Transpose.ROTATE_90), file_format, exif=exif(6))
        prepared = prepare_input(data, ANY, limits=LIMITS)
        assert (prepared.format.value, prepared.size) == (file_format.lower(), Size(120, 80))
        assert SECRET.encode() not in prepared.data
        assert np.abs(pixels(prepared.data) - np.asarray(upright, int)).mean() < 10

    def test_other_formats_become_the_first_accepted(self, picture, file) -> None:
        profile = Profile(input_formats=(ImageFormat.WEBP, ImageFormat.PNG))
        prepared = prepare_input(file(picture(40, 40), "JPEG"), profile, limits=LIMITS)
        assert prepared.format is ImageFormat.WEBP

    def test_animations_16_bits_and_cmyk_become_plain(self, picture, file) -> None:
        frames = [picture(40, 30), picture(40, 30).rotate(90)]
        for data in (
            file(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
            file(frames[0], "PNG", save_all=True, append_images=frames[1:]),
            file(Image.new("I;16", (40, 30), 30_000), "PNG"),
            file(picture(40, 30).convert("CMYK"), "JPEG"),
        ):
            facts = inspect(prepare_input(data, ANY, limits=LIMITS).data, limits=LIMITS)
            assert (facts.animated, facts.bits, facts.mode, facts.size) == (False, 8, "RGB", Size(40, 30))

    @pytest.mark.parametrize(
        ("limit", "expected"),
        [
            ({"max_input_side": 60}, Size(60, 40)),
            ({"max_input_pixels": 2400}, Size(60, 40)),
            ({"min_input_side": 160}, Size(240, 160)),
            ({"min_input_pixels": 120 * 80 * 4}, Size(240, 160)),
            ({"square_input": True}, Size(80, 80)),
            ({"square_input": True, "max_input_side": 50}, Size(50, 50)),
            ({"square_input": True, "min_input_side": 256}, Size(256, 256)),
        ],
    )
    def test_size_limits_are_met_in_proportion(self, picture, file, limit, expected) -> None:
        prepared = prepare_input(file(picture(120, 80), "PNG"), Profile(**limit), limits=LIMITS)
        assert prepared.size == expected
        assert inspect(prepared.data, limits=LIMITS).size == expected

    def test_a_large_photo_for_a_square_model_keeps_its_middle(self, picture, file) -> None:
        profile = Profile(square_input=True, max_input_side=100)
        prepared = prepare_input(file(picture(1600, 800), "JPEG", quality=95), profile, limits=LIMITS)
        expected = picture(1600, 800).crop((400, 0, 1200, 800)).resize((100, 100), Image.Resampling.LANCZOS)
        assert prepared.size == Size(100, 100)
        assert np.abs(pixels(prepared.data) - np.asarray(expected, int)).mean() < 5

    def test_a_png_over_the_byte_limit_becomes_lossy_before_it_becomes_smaller(self, picture, file) -> None:
        data = file(picture(300, 200), "PNG")
        prepared = prepare_input(data, Profile(max_input_bytes=len(data) // 2), limits=LIMITS)
        assert (prepared.format, prepared.size) == (ImageFormat.JPEG, Size(300, 200))

    def test_a_transparent_png_over_the_byte_limit_keeps_its_alpha(self, picture, file) -> None:
        image = picture(300, 200)
        image.putalpha(128)
        data = file(image, "PNG")
        prepared = prepare_input(data, Profile(max_input_bytes=len(data) // 2), limits=LIMITS)
        assert prepared.format is ImageFormat.WEBP
        assert inspect(prepared.data, limits=LIMITS).has_alpha

    @pytest.mark.parametrize("max_input_bytes", [60_000, 20_000, 5_000])
    def test_the_byte_limit_is_met_by_shrinking_where_only_png_is_accepted(
        self, picture, file, max_input_bytes
    ) -> None:
        profile = Profile(input_formats=(ImageFormat.PNG,), max_input_bytes=max_input_bytes, square_input=True)
        prepared = prepare_input(file(picture(300, 200), "PNG"), profile, limits=LIMITS)
        assert prepared.format is ImageFormat.PNG
        assert max_input_bytes / 3 < len(prepared.data) <= max_input_bytes
        assert prepared.size.width == prepared.size.height

    def test_what_cannot_be_fitted_is_unsupported_by_this_model(self, picture, file) -> None:
        for profile in (
            Profile(min_input_side=64, max_input_side=256),
            Profile(min_input_pixels=10_000, max_input_side=256),
            Profile(max_input_bytes=10),
        ):
            with pytest.raises(GatewayError) as caught:
                prepare_input(file(picture(2000, 10), "PNG"), profile, limits=LIMITS)
            assert caught.value.kind is ErrorKind.UNSUPPORTED

    def test_a_damaged_file_is_the_callers_fault(self, plain_file) -> None:
        with pytest.raises(GatewayError) as caught:
            prepare_input(plain_file[: len(plain_file) // 2], ANY, limits=LIMITS)
        assert (caught.value.kind, caught.value.code) == (ErrorKind.INVALID_REQUEST, "invalid_image")

    @settings(max_examples=40, deadline=None)
    @given(
        st.integers(1, 200),
        st.integers(1, 200),
        st.integers(1, 150),
        st.integers(150, 400),
        st.booleans(),
        st.integers(1, 20_000),
        st.integers(20_000, 90_000),
        st.integers(300, 30_000),
    )
    def test_whatever_comes_out_is_within_every_limit(
        self, picture, file, width, height, low, high, square, few, many, size
    ) -> None:
        profile = Profile(
            min_input_side=low,
            max_input_side=high,
            square_input=square,
            min_input_pixels=few,
            max_input_pixels=many,
            max_input_bytes=size,
        )
        try:
            prepared = prepare_input(file(picture(width, height), "PNG"), profile, limits=LIMITS)
        except GatewayError as error:
            if error.kind is not ErrorKind.UNSUPPORTED:
                raise
            return
        facts = inspect(prepared.data, limits=LIMITS)
        assert facts.size == prepared.size
        assert low <= min(facts.size.width, facts.size.height)
        assert max(facts.size.width, facts.size.height) <= high
        assert few <= facts.size.pixels <= many
        assert len(prepared.data) <= size
        assert not square or facts.size.width == facts.size.height


class TestFinish:
    @pytest.mark.parametrize("output_format", [ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP])
    def test_what_is_right_already_passes_untouched(self, picture, file, output_format) -> None:
        data = file(picture(64, 64), output_format.value.upper())
        assert finish(data, Wish(Size(64, 64), output_format), limits=LIMITS).data is data
        assert finish(data, Wish(None, output_format), limits=LIMITS).data is data

    @settings(max_examples=30, deadline=None)
    @given(
        st.integers(1, 120),
        st.integers(1, 120),
        st.integers(1, 120),
        st.integers(1, 120),
        st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]),
        st.sampled_from([ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP]),
    )
    def test_size_and_format_are_exactly_what_was_asked_for(
        self, picture, file, width, height, to_width, to_height, source, output_format
    ) -> None:
        wanted = Size(to_width, to_height)
        done = finish(file(picture(width, height), source), Wish(wanted, output_format), limits=LIMITS)
        facts = inspect(done.data, limits=LIMITS)
        assert (facts.size, facts.format) == (done.size, done.format) == (wanted, output_format)

    def test_a_result_that_lies_on_its_side_is_put_upright(self, picture, file) -> None:
        data = file(picture(60, 40), "JPEG", exif=exif(6))
        done = finish(data, Wish(None, ImageFormat.JPEG), limits=LIMITS)
        assert (done.size, inspect(done.data, limits=LIMITS).orientation) == (Size(40, 60), 1)

    def test_metadata_is_removed(self, picture, file) -> None:
        data = file(picture(64, 64), "PNG", exif=exif())
        done = finish(data, Wish(None, ImageFormat.PNG), limits=LIMITS)
        assert SECRET.encode() not in done.data

    def test_a_bad_result_is_the_providers_fault(self, plain_file) -> None:
        for data in (b"", b"<html>", plain_file[: len(plain_file) // 2]):
            for output_format in (ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP, ImageFormat.GIF):
                with pytest.raises(GatewayError, match="provider's result") as caught:
                    finish(data, Wish(None, output_format), limits=LIMITS)
                assert caught.value.kind is ErrorKind.BAD_RESPONSE


class TestWishes:
    @pytest.mark.parametrize("output_format", [ImageFormat.JPEG, ImageFormat.WEBP])
    def test_a_lower_quality_is_made_here_and_the_highest_is_what_came(self, file, picture, output_format) -> None:
        data = file(picture(64, 64), output_format.value)
        made = [finish(data, Wish(None, output_format, compression=each), limits=LIMITS).data for each in (0, 50, 95)]
        assert len(made[0]) < len(made[1]) < len(made[2])
        assert finish(data, Wish(None, output_format, compression=100), limits=LIMITS).data is data

    def test_a_contained_result_is_all_there_on_its_ground(self, file) -> None:
        data = file(Image.new("RGB", (40, 20), (255, 0, 0)), "PNG")
        wish = Wish(Size(40, 40), ImageFormat.PNG, Fit.CONTAIN, (0, 0, 255))
        pixels = decode(finish(data, wish, limits=LIMITS).data, limits=LIMITS).array()
        assert (pixels[:10] == (0, 0, 255)).all()
        assert (pixels[10:30] == (255, 0, 0)).all()
        assert (pixels[30:] == (0, 0, 255)).all()

    @pytest.mark.parametrize("output_format", [ImageFormat.PNG, ImageFormat.WEBP])
    @pytest.mark.parametrize("mode", ["RGB", "RGBA"])
    def test_around_a_contained_transparent_result_there_is_nothing(self, file, output_format, mode) -> None:
        data = file(Image.new(mode, (40, 20), (255, 0, 0, 128)[: len(mode)]), "PNG")
        wish = Wish(Size(40, 40), output_format, Fit.CONTAIN, transparent=True)
        pixels = decode(finish(data, wish, limits=LIMITS).data, limits=LIMITS).array()
        assert (pixels[:9, :, 3] == 0).all()
        assert (pixels[12:28, :, 3] == (128 if mode == "RGBA" else 255)).all()

    @pytest.mark.parametrize("output_format", [ImageFormat.PNG, ImageFormat.WEBP])
    def test_alpha_stays_where_a_result_is_cut_and_converted(self, file, output_format) -> None:
        data = file(Image.new("RGBA", (40, 20), (255, 0, 0, 0)), "PNG")
        pixels = decode(finish(data, Wish(Size(20, 20), output_format), limits=LIMITS).data, limits=LIMITS).array()
        assert pixels.shape == (20, 20, 4)
        assert (pixels[..., 3] == 0).all()
