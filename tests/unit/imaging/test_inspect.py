"""Facts learned from headers alone, and files refused before anything is decoded."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import pytest
from PIL import Image

from service.core.errors import ErrorKind, GatewayError
from service.core.values import Size
from service.imaging.inspect import ImageLimits, inspect, picture_only


def png_header(width: int, height: int) -> bytes:
    """A well-formed PNG of a few bytes that claims a size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))

    header = struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def refusal(data: bytes, limits: ImageLimits | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        inspect(data, limits=limits or ImageLimits())
    error = caught.value
    assert (error.kind, error.code, error.param) == (ErrorKind.INVALID_REQUEST, "invalid_image", "image")
    return error


def test_format_and_size_come_from_the_bytes(plain_file, limits) -> None:
    facts = inspect(plain_file, limits=limits)
    with Image.open(io.BytesIO(plain_file)) as image:
        assert facts.format.value == image.format.lower()
    assert facts.size == Size(120, 80)
    assert (facts.has_alpha, facts.animated, facts.orientation) == (False, False, 1)


@pytest.mark.parametrize(
    ("mode", "file_format", "expected", "bits", "alpha"),
    [
        ("1", "PNG", "1", 1, False),
        ("L", "PNG", "L", 8, False),
        ("LA", "PNG", "LA", 8, True),
        ("P", "PNG", "P", 8, False),
        ("RGBA", "PNG", "RGBA", 8, True),
        ("I;16", "PNG", "L", 16, False),
        ("L", "JPEG", "L", 8, False),
        ("CMYK", "JPEG", "CMYK", 8, False),
        ("RGBA", "WEBP", "RGBA", 8, True),
        ("P", "GIF", "P", 8, False),
    ],
)
def test_channels_and_alpha_are_told(picture, file, limits, mode, file_format, expected, bits, alpha) -> None:
    image = Image.new("I;16", (9, 9)) if mode == "I;16" else picture(9, 9).convert(mode)
    if mode == "RGBA":
        image.putalpha(100)
    facts = inspect(file(image, file_format), limits=limits)
    assert (facts.mode, facts.bits, facts.has_alpha) == (expected, bits, alpha)


def test_lossless_webp_is_read(picture, file, limits) -> None:
    facts = inspect(file(picture(77, 33), "WEBP", lossless=True), limits=limits)
    assert (facts.size, facts.has_alpha) == (Size(77, 33), False)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "GIF"])
def test_animations_are_told(picture, file, limits, file_format) -> None:
    frames = [picture(20, 20), picture(20, 20).transpose(Image.Transpose.ROTATE_90)]
    data = file(frames[0], file_format, save_all=True, append_images=frames[1:], duration=100)
    assert inspect(data, limits=limits).animated


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_the_size_is_the_one_displayed(picture, file, limits, file_format, orientation) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    facts = inspect(file(picture(40, 20), file_format, exif=exif), limits=limits)
    assert facts.orientation == orientation
    assert facts.size == (Size(40, 20) if orientation < 5 else Size(20, 40))
    assert facts.stored_size == Size(40, 20)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II*\x00",
        b"XX*\x00\x08\x00\x00\x00",
        b"II*\x00\xff\xff\xff\xff",
        b"II*\x00\x08\x00\x00\x00\xff\xff",
        b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x09\x00\x00\x00",
        b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x02\x00\x01\x00\x00\x00\x06\x00\x00\x00",
        b"II*\x00\x00\x00\x00\x00" * 4000,
    ],
)
def test_absurd_exif_is_ignored(picture, file, limits, block) -> None:
    assert inspect(file(picture(9, 9), "JPEG", exif=b"Exif\0\0" + block), limits=limits).orientation == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"hello", "not an image file"),
        (b"\x00" * 1000, "not an image file"),
        (b"BM" + bytes(100), "not an image file"),
        (b"II+\x00" + bytes(100), "BigTIFF"),
        (b"\x00\x00\x00\x20ftypmif1" + bytes(100), "HEIF"),
        (b"\xff\x0a" + bytes(100), "JPEG XL"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_other_formats_are_refused_by_name(data, message) -> None:
    assert message in refusal(data).message


def test_the_decoders_other_formats_are_never_opened(picture, file) -> None:
    for file_format in ("PPM", "TGA", "ICO", "PCX", "SGI", "JPEG2000", "EPS"):
        assert (
            "accepted are PNG, JPEG, WebP, GIF, HEIC, AVIF, TIFF and BMP"
            in refusal(file(picture(32, 32), file_format)).message
        )


def test_a_bomb_of_a_few_bytes_is_refused_without_memory() -> None:
    bomb = png_header(20_000, 20_000)
    tracemalloc.start()
    try:
        error = refusal(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "20000" in error.message
    assert peak < 100_000


def test_pixel_and_side_limits_are_exact() -> None:
    limits = ImageLimits(max_pixels=100, max_side=50)
    assert inspect(png_header(10, 10), limits=limits).size == Size(10, 10)
    assert inspect(png_header(50, 2), limits=limits).size == Size(50, 2)
    assert (
        "too many pixels: 101x1 is 101, and at most 100"
        in refusal(png_header(101, 1), ImageLimits(max_pixels=100)).message
    )
    assert "at most 50" in refusal(png_header(51, 1), limits).message
    for empty in (png_header(0, 5), png_header(5, 0), png_header(0, 0)):
        assert "is empty" in refusal(empty).message
    assert refusal(png_header(2**32 - 1, 2**32 - 1))


def test_a_header_cut_anywhere_is_refused_or_sound(plain_file, limits) -> None:
    for length in range(len(plain_file) - 1):
        try:
            assert inspect(plain_file[:length], limits=limits).size == Size(120, 80)
        except GatewayError as error:
            if error.code != "invalid_image":
                raise


def test_nothing_is_copied_when_nothing_has_to_go(plain_file, limits) -> None:
    assert picture_only(plain_file, inspect(plain_file, limits=limits).format) is plain_file
