"""HEIC, AVIF, TIFF and BMP: read from their headers before anything is decoded, and converted for providers."""

from __future__ import annotations

import gc
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.catalog.profile import Profile
from service.core.errors import ErrorKind, GatewayError
from service.core.values import ImageFormat, Size
from service.imaging.convert import Wish, finish, prepare_input
from service.imaging.decode import _OPENERS, decode
from service.imaging.inspect import ImageLimits, decode_cost, inspect
from service.imaging.picture import Picture
from service.imaging.resize import resize

FILES = Path(__file__).parent / "files"
LIMITS = ImageLimits(max_pixels=1_000_000, max_side=4_000)
ANY = Profile()


def drawn() -> np.ndarray:
    """The picture in the HEIC files: 64x48, red falling to the right, green downwards."""
    across, down = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 48))
    channels = (255 * (1 - across), 255 * (1 - down), 120 + 80 * np.sin(12 * across * down))
    return np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)


def refused(data: bytes, limits: ImageLimits = LIMITS) -> str:
    with pytest.raises(GatewayError) as caught:
        decode(data, limits=limits).array()
    assert (caught.value.kind, caught.value.code) == (ErrorKind.INVALID_REQUEST, "invalid_image")
    return caught.value.message


@pytest.fixture(scope="session")
def samples(picture, file) -> list[bytes]:
    rgb = picture(64, 48)
    rgba = rgb.copy()
    rgba.putalpha(Image.linear_gradient("L").resize((64, 48)))
    return [
        *(path.read_bytes() for path in sorted(FILES.glob("*.heic"))),
        file(rgb, "AVIF"),
        file(rgba, "AVIF"),
        file(rgb, "AVIF", save_all=True, append_images=[rgb.rotate(180)]),
        file(rgb, "TIFF", compression="tiff_lzw"),
        file(rgba, "TIFF", compression="packbits"),
        file(rgb, "TIFF", compression="jpeg"),
        file(rgb.convert("CMYK"), "TIFF"),
        file(rgb, "TIFF", save_all=True, append_images=[rgb.rotate(180)]),
        file(rgb, "BMP"),
        file(rgb.quantize(16), "BMP"),
        file(rgba, "BMP"),
    ]


class TestHeic:
    @pytest.mark.parametrize(("name", "tolerance"), [("plain", 4), ("ten-bit", 4), ("alpha", 4)])
    def test_pictures_are_shown(self, name, tolerance) -> None:
        data = (FILES / f"{name}.heic").read_bytes()
        facts = inspect(data, limits=LIMITS)
        assert (facts.format, facts.size, facts.has_alpha) == (ImageFormat.HEIC, Size(64, 48), name == "alpha")
        pixels = decode(data, limits=LIMITS).array()
        assert np.abs(pixels[..., :3].astype(int) - drawn()).mean() < tolerance
        if name == "alpha":
            assert np.abs(pixels[24, :, 3].astype(int) - np.linspace(0, 255, 64)).max() < 12

    def test_rotation_is_applied_once(self) -> None:
        data = (FILES / "sideways.heic").read_bytes()
        assert inspect(data, limits=LIMITS).size == Size(48, 64)
        assert np.abs(decode(data, limits=LIMITS).array().astype(int) - np.rot90(drawn(), -1)).mean() < 4

    def test_its_profile_is_applied(self) -> None:
        wide = decode((FILES / "display-p3.heic").read_bytes(), limits=LIMITS).array().astype(int)
        # Display P3's green is outside of sRGB: red and blue become less.
        assert (wide[2, 60] - drawn()[2, 60])[0] <= 0
        assert np.abs(wide - drawn()).mean() > 4

    def test_one_that_cannot_be_decoded_is_told_what_to_do(self) -> None:
        data = bytearray((FILES / "plain.heic").read_bytes())
        body = data.index(b"mdat") + 4
        data[body:] = bytes(len(data) - body)
        message = refused(bytes(data))
        assert "JPEG or PNG" in message
        assert "Most Compatible" in message


class TestAvif:
    def test_pictures_are_shown_alpha_and_first_frames_too(self, picture, file) -> None:
        rgb = picture(64, 48)
        moving = file(rgb, "AVIF", quality=95, save_all=True, append_images=[rgb.rotate(180)])
        for data, animated in ((file(rgb, "AVIF", quality=95), False), (moving, True)):
            facts = inspect(data, limits=LIMITS)
            assert (facts.format, facts.size, facts.animated) == (ImageFormat.AVIF, Size(64, 48), animated)
            assert np.abs(decode(data, limits=LIMITS).array().astype(int) - np.asarray(rgb)).mean() < 6

    def test_rotation_is_applied_once(self, picture, file) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        data = file(picture(64, 48), "AVIF", quality=95, exif=exif)
        assert inspect(data, limits=LIMITS).size == Size(48, 64)
        turned = np.rot90(np.asarray(picture(64, 48), int), -1)
        assert np.abs(decode(data, limits=LIMITS).array() - turned).mean() < 6


class TestTiffAndBmp:
    @pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
    def test_every_mode_of_tiff_is_shown(self, picture, file, mode, compression) -> None:
        source = picture(64, 48).quantize(16) if mode == "P" else picture(64, 48).convert(mode)
        shown = decode(file(source, "TIFF", compression=compression), limits=LIMITS).array()
        assert np.abs(shown.astype(int) - np.asarray(source.convert("RGBA" if mode == "RGBA" else "RGB"))).max() <= 1

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_the_orientation_of_a_tiff_is_applied(self, picture, file, orientation) -> None:
        from PIL import ImageOps

        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = picture(64, 48)
        data = file(stored, "TIFF", exif=exif)
        stored.getexif()[0x0112] = orientation
        expected = np.asarray(ImageOps.exif_transpose(stored))
        assert np.array_equal(decode(data, limits=LIMITS).array(), expected)

    def test_the_first_page_is_taken(self, picture, file) -> None:
        data = file(picture(64, 48), "TIFF", save_all=True, append_images=[picture(64, 48).rotate(180)] * 3)
        assert inspect(data, limits=LIMITS).animated
        assert np.array_equal(decode(data, limits=LIMITS).array(), np.asarray(picture(64, 48)))

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
    @pytest.mark.parametrize("size", [(64, 48), (61, 7), (1, 1)])
    def test_every_mode_of_bmp_is_shown(self, picture, file, mode, size) -> None:
        source = picture(*size).quantize(16) if mode == "P" else picture(*size).convert(mode)
        shown = decode(file(source, "BMP"), limits=LIMITS).array()
        assert np.array_equal(shown[..., :3], np.asarray(source.convert("RGB")))

    def test_rows_from_the_top_down_are_shown_so(self, picture, file) -> None:
        data = bytearray(file(picture(64, 48), "BMP"))
        data[22:26] = struct.pack("<l", -48)
        assert np.array_equal(decode(bytes(data), limits=LIMITS).array(), np.asarray(picture(64, 48))[::-1])

    def test_unusual_kinds_are_unsupported_and_told_so(self, picture, file) -> None:
        assert "unsupported" in refused(file(picture(64, 48).convert("1"), "TIFF", compression="group4"))
        assert "unsupported" in refused(file(Image.new("F", (8, 8)), "TIFF"))

    def test_an_endless_chain_of_pages_is_not_walked(self, picture, file, monkeypatch) -> None:
        import pyvips

        given_to_libvips = []
        load = pyvips.Source.new_from_memory
        monkeypatch.setattr(pyvips.Source, "new_from_memory", lambda data: given_to_libvips.append(data) or load(data))
        data = bytearray(file(picture(64, 48), "TIFF"))
        (directory,) = struct.unpack_from("<L", data, 4)
        (entries,) = struct.unpack_from("<H", data, directory)
        struct.pack_into("<L", data, directory + 2 + 12 * entries, directory)
        assert np.array_equal(decode(bytes(data), limits=LIMITS).array(), np.asarray(picture(64, 48)))
        assert struct.unpack_from("<L", given_to_libvips[-1], directory + 2 + 12 * entries) == (0,)


class TestForProvidersAndFromThem:
    def test_every_kind_is_converted_to_what_a_provider_takes(self, samples) -> None:
        for data in samples:
            sent = prepare_input(data, ANY, limits=LIMITS)
            assert sent.format in ANY.input_formats
            assert inspect(sent.data, limits=LIMITS).size == inspect(data, limits=LIMITS).size
            assert b"ftyp" not in sent.data[:16]

    def test_they_are_never_passed_on_as_they_are(self, samples) -> None:
        for data in samples:
            found = inspect(data, limits=LIMITS).format
            profile = Profile(input_formats=(found, ImageFormat.PNG))
            assert prepare_input(data, profile, limits=LIMITS).format is ImageFormat.PNG

    def test_the_bytes_of_a_first_page_are_there_until_its_pixels_are_read(self) -> None:
        pages = [Image.new("RGB", (200, 150), colour) for colour in ("red", "blue")]
        written = io.BytesIO()
        pages[0].save(written, "TIFF", save_all=True, append_images=pages[1:])
        data = written.getvalue()
        image, _ = _OPENERS[ImageFormat.TIFF](data, inspect(data, limits=LIMITS), 1.0, True)
        gc.collect()
        # Takes the place of whatever was freed.
        taken = [bytes([255 - each % 7]) * len(data) for each in range(200)]
        assert image.avg() == pytest.approx(85)
        del taken

    def test_a_result_of_such_a_kind_becomes_what_was_asked_for(self, samples) -> None:
        for data in samples:
            done = finish(data, Wish(Size(32, 32), ImageFormat.PNG), limits=LIMITS)
            assert (done.format, done.size) == (ImageFormat.PNG, Size(32, 32))


class TestBombs:
    def test_sizes_are_refused_from_the_header(self, samples) -> None:
        for data in samples:
            with pytest.raises(GatewayError, match="too many pixels"):
                inspect(data, limits=ImageLimits(max_pixels=64 * 48 - 1))

    def test_a_hidden_larger_picture_is_refused(self) -> None:
        data = bytearray((FILES / "plain.heic").read_bytes())
        at = data.index(b"ispe") + 8
        data[at : at + 8] = struct.pack(">LL", 30_000, 30_000)
        assert refused(bytes(data), ImageLimits())

    @settings(max_examples=400, deadline=None)
    @given(st.data())
    def test_mutated_files_are_decoded_or_refused_and_never_anything_else(self, samples, data) -> None:
        mutated = bytearray(data.draw(st.sampled_from(samples)))
        for _ in range(data.draw(st.integers(1, 6))):
            end = len(mutated) - 1 if data.draw(st.booleans()) else min(400, len(mutated) - 1)
            at = data.draw(st.integers(0, end))
            change = data.draw(st.sampled_from(["set", "cut", "insert", "large"]))
            if change == "set":
                mutated[at] = data.draw(st.integers(0, 255))
            elif change == "cut":
                del mutated[at : at + data.draw(st.integers(1, 40))]
            elif change == "insert":
                mutated[at:at] = data.draw(st.binary(min_size=1, max_size=20))
            else:
                mutated[at : at + 4] = data.draw(st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"]))
            if len(mutated) < 2:
                break
        try:
            shown = decode(bytes(mutated), limits=LIMITS).array()
        except GatewayError as error:
            if (error.kind, error.code) != (ErrorKind.INVALID_REQUEST, "invalid_image"):
                raise
        else:
            assert shown.shape[2] in (3, 4)
            assert shown.shape[0] * shown.shape[1] <= LIMITS.max_pixels

    def test_files_cut_anywhere_are_refused_or_sound(self, samples) -> None:
        for data in samples:
            for length in range(0, len(data), 37):
                try:
                    inspect(data[:length], limits=LIMITS)
                except GatewayError as error:
                    if error.code != "invalid_image":
                        raise


class TestCost:
    def test_it_grows_with_pixels_and_falls_with_the_output(self, picture, file) -> None:
        for file_format in ("PNG", "JPEG", "WEBP", "GIF", "AVIF", "TIFF", "BMP"):
            small, large = (file(picture(side, side), file_format) for side in (64, 900))
            costs = [decode_cost(inspect(each, limits=ImageLimits()), len(each)) for each in (small, large)]
            assert costs[0] < costs[1]
            reduced = decode_cost(inspect(large, limits=ImageLimits()), len(large), output=Size(64, 64))
            assert reduced <= costs[1] + 64 * 900 * 1_000

    def test_a_few_bytes_that_say_many_pixels_cost_what_they_say(self, file) -> None:
        bomb = file(Image.new("RGB", (7_000, 7_000)), "WEBP", lossless=True)
        cost = decode_cost(inspect(bomb, limits=ImageLimits()), len(bomb))
        assert 49_000_000 * 3 < cost < 49_000_000 * 12


def test_pictures_hold_no_pixels_until_they_are_loaded(picture, file) -> None:
    held = decode(file(picture(64, 48), "PNG"), limits=LIMITS)
    assert not [field for field in (held.source, held.window, held.size) if isinstance(field, np.ndarray)]
    loaded = resize(held, Size(32, 24)).loaded()
    assert isinstance(loaded, Picture)
    assert np.array_equal(loaded.array(), loaded.array())
