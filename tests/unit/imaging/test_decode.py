"""From bytes to pixels: every kind of image becomes upright RGB or RGBA, every kind of damage an error."""

from __future__ import annotations

import io
import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from service.core.errors import ErrorKind, GatewayError
from service.core.values import Size
from service.imaging.decode import decode, flatten
from service.imaging.inspect import ImageLimits
from service.imaging.picture import Picture, faults_named
from service.imaging.resize import resize

LIMITS = ImageLimits(max_pixels=1_000_000, max_side=4_000)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">LLBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + body + chunk(b"IEND", b"")


def shown(data: bytes, *, limits: ImageLimits) -> Image.Image:
    """What ``decode`` makes of a file, to look at."""
    return Image.fromarray(decode(data, limits=limits).array())


def refusal(data: bytes) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        shown(data, limits=LIMITS)
    error = caught.value
    assert (error.kind, error.code, error.param) == (ErrorKind.INVALID_REQUEST, "invalid_image", "image")
    return error


def close(one: Image.Image, other: Image.Image, tolerance: float) -> bool:
    difference = np.asarray(one.convert("RGB"), int) - np.asarray(other.convert("RGB"), int)
    return one.size == other.size and float(np.abs(difference).mean()) < tolerance


@pytest.mark.parametrize(("file_format", "tolerance"), [("PNG", 0.01), ("JPEG", 8), ("WEBP", 8), ("GIF", 12)])
def test_every_format_is_decoded_to_rgb(picture, file, file_format, tolerance) -> None:
    image = shown(file(picture(120, 80), file_format), limits=LIMITS)
    assert image.mode == "RGB"
    assert close(image, picture(120, 80), tolerance)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied(picture, file, file_format, orientation) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = picture(120, 80) if orientation == 1 else picture(120, 80).transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert close(shown(file(stored, file_format, exif=exif), limits=LIMITS), picture(120, 80), 8)


class TestChannels:
    def test_grey_and_bilevel_become_rgb(self, picture, file) -> None:
        for mode in ("L", "1"):
            source = picture(40, 30).convert(mode)
            assert close(shown(file(source, "PNG"), limits=LIMITS), source, 0.01)

    def test_palettes_become_rgb_and_with_transparency_rgba(self, picture, file) -> None:
        source = picture(40, 30).quantize(16)
        assert close(shown(file(source, "PNG"), limits=LIMITS), source, 0.01)
        for transparency in (3, bytes((0, 128, 255))):
            data = file(source, "PNG", transparency=transparency)
            expected = Image.open(io.BytesIO(data)).convert("RGBA")
            assert np.array_equal(np.asarray(shown(data, limits=LIMITS)), np.asarray(expected))

    def test_transparent_gifs_become_rgba(self, picture, file) -> None:
        data = file(picture(40, 30).quantize(16), "GIF", transparency=3)
        image = shown(data, limits=LIMITS)
        assert image.mode == "RGBA"
        assert set(np.unique(np.asarray(image)[:, :, 3])) == {0, 255}

    def test_grey_with_alpha_becomes_rgba(self, file) -> None:
        image = shown(file(Image.new("LA", (4, 3), (90, 33)), "PNG"), limits=LIMITS)
        assert (image.mode, image.getpixel((0, 0))) == ("RGBA", (90, 90, 90, 33))

    def test_sixteen_bit_grey_is_rounded_not_clipped(self, file) -> None:
        values = np.array([[0, 128, 129, 32_768, 65_407, 65_535]], np.uint16)
        image = shown(file(Image.fromarray(values), "PNG"), limits=LIMITS)
        assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 1, 128, 255, 255]

    def test_sixteen_bit_colour_is_rounded(self) -> None:
        data = png(1, 1, 16, 2, b"\x00" + struct.pack(">HHH", 0xFF00, 0x8000, 0x0100))
        assert shown(data, limits=LIMITS).getpixel((0, 0)) == (254, 128, 1)

    def test_one_transparent_colour_makes_alpha_in_every_depth(self) -> None:
        grey_16 = png(2, 1, 16, 0, b"\x00" + struct.pack(">HH", 1000, 1001), chunk(b"tRNS", struct.pack(">H", 1000)))
        grey_2 = png(4, 1, 2, 0, b"\x00\x1b", chunk(b"tRNS", struct.pack(">H", 2)))
        grey_1 = png(8, 1, 1, 0, b"\x00\x80", chunk(b"tRNS", struct.pack(">H", 1)))
        colour_8 = png(2, 1, 8, 2, b"\x00\x01\x02\x03\x04\x05\x06", chunk(b"tRNS", struct.pack(">HHH", 4, 5, 6)))
        colour_16 = png(
            2,
            1,
            16,
            2,
            b"\x00" + struct.pack(">6H", *[0x1234] * 3, *[0x5678] * 3),
            chunk(b"tRNS", struct.pack(">3H", *[0x5678] * 3)),
        )
        for data, alpha in (
            (grey_16, [0, 255]),
            (grey_2, [255, 255, 0, 255]),
            (grey_1, [0] + [255] * 7),
            (colour_8, [255, 0]),
            (colour_16, [255, 0]),
        ):
            image = shown(data, limits=LIMITS)
            assert image.mode == "RGBA"
            assert np.asarray(image)[0, :, 3].tolist() == alpha

    def test_cmyk_becomes_rgb(self, picture, file) -> None:
        data = file(picture(64, 48).convert("CMYK"), "JPEG", quality=95)
        image = shown(data, limits=LIMITS)
        assert image.mode == "RGB"
        assert close(image, picture(64, 48), 10)

    @pytest.mark.parametrize("file_format", ["PNG", "WEBP", "GIF"])
    def test_the_first_frame_of_an_animation_is_taken(self, picture, file, file_format) -> None:
        frames = [picture(40, 30), picture(40, 30).transpose(Image.Transpose.ROTATE_180)]
        data = file(frames[0], file_format, save_all=True, append_images=frames[1:], duration=50)
        assert close(shown(data, limits=LIMITS), frames[0], 12)


class TestColourProfiles:
    LINEAR = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()

    def test_a_usable_profile_is_applied(self, file) -> None:
        profile = wide_gamut_profile()
        data = file(Image.new("RGB", (8, 8), (200, 100, 50)), "PNG", icc_profile=profile)
        image = shown(data, limits=LIMITS)
        assert image.mode == "RGB"
        assert image.getpixel((0, 0)) != (200, 100, 50)

    def test_alpha_survives_the_conversion(self, file) -> None:
        data = file(Image.new("RGBA", (8, 8), (200, 100, 50, 77)), "PNG", icc_profile=wide_gamut_profile())
        image = shown(data, limits=LIMITS)
        assert image.mode == "RGBA"
        assert image.getchannel("A").getpixel((0, 0)) == 77
        assert image.convert("RGB").getpixel((0, 0)) != (200, 100, 50)

    @pytest.mark.parametrize("profile", [b"garbage", bytes(3000), LINEAR])
    @pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
    def test_an_unusable_profile_is_ignored(self, file, profile, mode) -> None:
        colours: dict[str, float | tuple[int, ...]] = {"RGB": (1, 2, 3), "L": 5, "RGBA": (1, 2, 3, 4)}
        source = Image.new(mode, (8, 8), colours[mode])
        image = shown(file(source, "PNG", icc_profile=profile), limits=LIMITS)
        assert image.convert(mode).getpixel((0, 0)) == source.getpixel((0, 0))

    def test_an_srgb_profile_changes_nothing(self, picture, file) -> None:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        assert close(shown(file(picture(40, 30), "PNG", icc_profile=profile), limits=LIMITS), picture(40, 30), 0.01)


def wide_gamut_profile() -> bytes:
    """An sRGB profile whose red and blue primaries are swapped: usable, and surely not sRGB."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for start in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12):
        tag = bytes(profile[start : start + 4])
        if tag in (b"rXYZ", b"bXYZ"):
            profile[start : start + 4] = b"bXYZ" if tag == b"rXYZ" else b"rXYZ"
        elif tag == b"desc":
            profile[start : start + 4] = b"none"
    return bytes(profile)


class TestBombs:
    def test_text_chunks_are_never_inflated(self, picture, file) -> None:
        bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9))
        data = file(picture(8, 8), "PNG")
        assert shown(data[:33] + bomb * 20 + data[33:], limits=LIMITS).size == (8, 8)

    def test_an_inflating_colour_profile_is_not_inflated(self, picture, file) -> None:
        bomb = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(100_000_000), 9))
        data = file(picture(8, 8), "PNG")
        tracemalloc.start()
        try:
            assert close(shown(data[:33] + bomb + data[33:], limits=LIMITS), picture(8, 8), 0.01)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 20_000_000

    def test_more_pixel_data_than_the_header_says_is_cut(self) -> None:
        assert shown(png(1, 1, 8, 2, bytes(50_000_000)), limits=LIMITS).size == (1, 1)

    def test_the_pixel_limit_holds_for_every_format(self, picture, file) -> None:
        for file_format in ("PNG", "JPEG", "WEBP", "GIF"):
            with pytest.raises(GatewayError, match="too many pixels"):
                shown(file(picture(120, 80), file_format), limits=ImageLimits(max_pixels=9_599))

    def test_a_gif_frame_larger_than_its_screen_counts(self, picture, file) -> None:
        data = bytearray(file(picture(120, 80), "GIF"))
        data[6:10] = struct.pack("<HH", 1, 1)
        with pytest.raises(GatewayError, match="too many pixels: 120x80"):
            shown(bytes(data), limits=ImageLimits(max_pixels=9_599))


@pytest.fixture(scope="session")
def samples(picture, file) -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    rgba = picture(48, 32).convert("RGBA")
    rgba.putalpha(90)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return [
        file(picture(48, 32), "PNG", exif=exif),
        file(picture(48, 32).quantize(8), "PNG", transparency=b"\x10\x80"),
        file(rgba, "PNG", save_all=True, append_images=[rgba.rotate(90)]),
        file(picture(48, 32), "JPEG", exif=exif, icc_profile=profile),
        file(picture(48, 32), "JPEG", progressive=True),
        file(picture(48, 32).convert("CMYK"), "JPEG"),
        file(picture(48, 32), "WEBP", exif=exif),
        file(rgba, "WEBP", lossless=True),
        file(rgba, "WEBP", save_all=True, append_images=[rgba.rotate(90)]),
        file(picture(48, 32), "GIF", save_all=True, append_images=[picture(48, 32).rotate(90)]),
    ]


class TestDamage:
    def test_truncation_is_named(self, plain_file) -> None:
        assert "truncated" in refusal(plain_file[: len(plain_file) * 2 // 3]).message

    def test_pixel_data_that_ends_early_is_refused(self) -> None:
        assert refusal(png(10, 10, 8, 2, b"\x00" * 50))

    def test_a_jpeg_that_says_12_bits_is_refused(self, picture, file) -> None:
        data = bytearray(file(picture(8, 8), "JPEG"))
        data[data.index(b"\xff\xc0") + 4] = 12
        assert refusal(bytes(data))

    def test_two_headers_are_refused(self) -> None:
        second = chunk(b"IHDR", struct.pack(">LLBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
        assert "two headers" in refusal(png(1, 1, 8, 2, bytes(4), second)).message

    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_mutated_files_are_decoded_or_refused_and_never_anything_else(self, samples, data) -> None:
        mutated = bytearray(data.draw(st.sampled_from(samples)))
        for _ in range(data.draw(st.integers(1, 8))):
            # Headers are short and matter most.
            end = len(mutated) - 1 if data.draw(st.booleans()) else min(200, len(mutated) - 1)
            at = data.draw(st.integers(0, end))
            change = data.draw(st.sampled_from(["set", "cut", "insert", "repeat"]))
            if change == "set":
                mutated[at] = data.draw(st.integers(0, 255))
            elif change == "cut":
                del mutated[at : at + data.draw(st.integers(1, 40))]
            elif change == "insert":
                mutated[at:at] = data.draw(st.binary(min_size=1, max_size=20))
            else:
                mutated[at:at] = mutated[at : at + 60]
            if len(mutated) < 2:
                break
        self.decoded_or_refused(bytes(mutated))

    @settings(max_examples=200, deadline=None)
    @given(
        st.sampled_from(
            [b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"\xff\xd8\xff", b"GIF89a", b"RIFF\x40\x00\x00\x00WEBPVP8X"]
        ),
        st.binary(max_size=300),
    )
    def test_arbitrary_bytes_behind_a_signature_are_refused_or_decoded(self, signature, rest) -> None:
        self.decoded_or_refused(signature + rest)

    @staticmethod
    def decoded_or_refused(data: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                image = shown(data, limits=LIMITS)
            except GatewayError as error:
                if (error.kind, error.code) != (ErrorKind.INVALID_REQUEST, "invalid_image"):
                    raise
            else:
                assert image.mode in ("RGB", "RGBA")
                assert image.width * image.height <= LIMITS.max_pixels


def test_running_out_of_memory_is_an_error_about_the_image() -> None:
    for failure in (MemoryError(), pyvips.Error("out of memory --- size == 9MB")):
        with pytest.raises(GatewayError, match="more memory") as caught, faults_named():
            raise failure
        assert caught.value.code == "invalid_image"


def test_a_large_jpeg_is_not_decoded_whole_where_it_is_shown_small(picture, file, monkeypatch) -> None:
    asked = []
    load = pyvips.Image.jpegload_source
    monkeypatch.setattr(
        pyvips.Image, "jpegload_source", lambda *a, shrink, **o: asked.append(shrink) or load(*a, shrink=shrink, **o)
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    for options in ({}, {"exif": exif}):
        whole = decode(file(picture(800, 640), "JPEG", **options), limits=LIMITS)
        for size in (Size(800, 640), Size(300, 240), Size(100, 80)):
            size = size if not options else Size(size.height, size.width)
            small = Image.fromarray(resize(whole, size).array())
            expected = Image.fromarray(whole.array()).resize((size.width, size.height), Image.Resampling.LANCZOS)
            assert close(small, expected, 3)
    assert asked == [1, 1, 2, 1, 8, 1] * 2


def test_flattening_puts_the_image_on_white() -> None:
    def of(*colour: int) -> Picture:
        return Picture.from_array(np.full((2, 2, len(colour)), colour, np.uint8))

    assert flatten(of(200, 0, 0, 0)).array()[0, 0].tolist() == [255, 255, 255]
    assert flatten(of(200, 0, 0, 255)).array()[0, 0].tolist() == [200, 0, 0]
    opaque = of(1, 2, 3)
    assert flatten(opaque) is opaque


def test_a_jpeg_of_very_many_scans_is_refused_unopened(picture, file, limits) -> None:
    progressive = file(picture(64, 48), "JPEG", progressive=True)
    last, end = progressive.rfind(b"\xff\xda"), len(progressive) - 2
    assert shown(progressive, limits=limits).size == (64, 48)
    with pytest.raises(GatewayError, match="JPEG scans") as caught:
        shown(progressive[:end] + progressive[last:end] * 1000 + progressive[end:], limits=limits)
    assert caught.value.code == "invalid_image"
