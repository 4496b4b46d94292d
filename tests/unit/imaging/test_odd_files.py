"""Files as cameras and broken transfers leave them: taken as browsers take them, or refused for what they lack."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from service.catalog.profile import Profile
from service.core.errors import ErrorKind, GatewayError
from service.core.values import ImageFormat, Size
from service.imaging.convert import Wish, finish, prepare_input
from service.imaging.decode import decode
from service.imaging.inspect import ImageLimits, inspect, picture_only

LIMITS = ImageLimits()
SIDEWAYS = 6


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def tiff_block(orientation: int, order: str = "<", kind: int = 3, padding: int = 0) -> bytes:
    """An EXIF block whose one tag is the orientation, as SHORT (3) or LONG (4), followed by padding."""
    value = struct.pack(order + ("HH" if kind == 3 else "L"), *((orientation, 0) if kind == 3 else (orientation,)))
    entry = struct.pack(order + "HHL", 0x0112, kind, 1) + value
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "LH", 8, 1) + entry + bytes(4 + padding)


def exif(block: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + block)


def segments(jpeg: bytes) -> Iterator[tuple[int, int]]:
    """The start and end of each segment after SOI, up to the first scan."""
    at = 2
    while jpeg[at + 1] != 0xDA:
        after = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        yield at, after
        at = after


def rows_of_png(pixels: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def chunk(kind: bytes, body: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body) ^ wrong)


def png_of(stream: bytes, width: int, height: int, *before: bytes, pieces: int = 1) -> bytes:
    """An RGB PNG whose every chunk is intact around a zlib stream that may not be."""
    header = struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)
    step = max(1, -(-len(stream) // pieces))
    data = b"".join(chunk(b"IDAT", stream[at : at + step]) for at in range(0, len(stream), step))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(before) + data + chunk(b"IEND", b"")


def both_ways(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """A file's picture as it is decoded here, and as it is decoded from the file that a provider is sent."""
    sent = prepare_input(data, Profile(), limits=LIMITS)
    return decode(data, limits=LIMITS).array().astype(int), decode(sent.data, limits=LIMITS).array().astype(int)


def refused(data: bytes) -> list[GatewayError]:
    """The errors of decoding a file here, and of preparing it for a provider."""
    found = []
    for work in (lambda: decode(data, limits=LIMITS).array(), lambda: prepare_input(data, Profile(), limits=LIMITS)):
        with pytest.raises(GatewayError) as caught:
            work()
        assert (caught.value.kind, caught.value.code) == (ErrorKind.INVALID_REQUEST, "invalid_image")
        found.append(caught.value)
    return found


@pytest.fixture(scope="session")
def jpeg(picture, file) -> bytes:
    return file(picture(120, 80), "JPEG", quality=90)


class TestOrientation:
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("kind", [3, 4])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_it_may_be_a_short_or_a_long(self, jpeg, order, kind, orientation) -> None:
        data = jpeg[:2] + exif(tiff_block(orientation, order, kind)) + jpeg[2:]
        assert inspect(data, limits=LIMITS).orientation == orientation

    @pytest.mark.parametrize("value", [0, 9, 65_536 + 6, 2**32 - 1])
    def test_a_senseless_long_is_ignored(self, jpeg, value) -> None:
        data = jpeg[:2] + exif(tiff_block(value, kind=4)) + jpeg[2:]
        assert inspect(data, limits=LIMITS).orientation == 1

    def test_the_first_of_two_blocks_counts(self, jpeg) -> None:
        for first, second in ((SIDEWAYS, 1), (1, SIDEWAYS), (SIDEWAYS, 3)):
            blocks = (
                exif(tiff_block(first)) + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0x") + exif(tiff_block(second))
            )
            assert inspect(jpeg[:2] + blocks + jpeg[2:], limits=LIMITS).orientation == first

    def test_a_block_may_go_on_in_the_next_segment(self, jpeg) -> None:
        block = tiff_block(SIDEWAYS, padding=90_000)
        data = jpeg[:2] + exif(block[:60_000]) + exif(block[60_000:]) + jpeg[2:]
        assert inspect(data, limits=LIMITS).orientation == SIDEWAYS

    @pytest.mark.parametrize("cut", [9, 12, 20])
    def test_even_its_directory_may_be_split(self, jpeg, cut) -> None:
        block = tiff_block(SIDEWAYS)
        data = jpeg[:2] + exif(block[:cut]) + exif(block[cut:]) + jpeg[2:]
        assert inspect(data, limits=LIMITS).orientation == SIDEWAYS

    def test_the_first_block_of_a_png_counts_and_a_damaged_one_does_not(self, picture, file) -> None:
        png = file(picture(12, 8), "PNG")
        for blocks, expected in (
            (chunk(b"eXIf", tiff_block(SIDEWAYS)) + chunk(b"eXIf", tiff_block(1)), SIDEWAYS),
            (chunk(b"eXIf", tiff_block(SIDEWAYS), wrong=1) + chunk(b"eXIf", tiff_block(3)), 3),
        ):
            assert inspect(png[:33] + blocks + png[33:], limits=LIMITS).orientation == expected

    def test_what_is_sent_is_upright(self, jpeg, picture) -> None:
        data = jpeg[:2] + exif(tiff_block(SIDEWAYS, kind=4)) + exif(tiff_block(1)) + jpeg[2:]
        here, sent = both_ways(data)
        assert here.shape == sent.shape == (120, 80, 3)
        upright = np.asarray(picture(120, 80).transpose(Image.Transpose.ROTATE_270), int)
        assert np.abs(here - upright).mean() < 4


class TestJpegSegments:
    @pytest.mark.parametrize("stray", [b"\0", b"x", b"\xff\0", b"\xff\0\xff\0", b"junk \xff", b"\xff" * 9, b"\xff\xd0"])
    def test_stray_bytes_between_segments_are_skipped(self, jpeg, stray) -> None:
        expected = decode(jpeg, limits=LIMITS).array()
        for _, after in segments(jpeg):
            data = jpeg[:after] + stray + jpeg[after:]
            here, sent = both_ways(data)
            assert np.array_equal(here, expected)
            assert np.array_equal(sent, expected)
            assert picture_only(data, ImageFormat.JPEG) == jpeg

    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}])
    def test_a_missing_end_is_made_up_for(self, picture, file, options) -> None:
        data = file(picture(120, 80), "JPEG", quality=90, **options)
        expected = decode(data, limits=LIMITS).array()
        for cut in (data[:-2], data[:-1]):
            here, sent = both_ways(cut)
            assert np.array_equal(here, expected)
            assert np.array_equal(sent, expected)

    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
    @pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
    @pytest.mark.parametrize("share", [0.5, 0.75, 0.9, 0.98])
    def test_a_scan_that_ends_early_is_truncated_with_an_end_marker_or_without(
        self, picture, file, options, end, share
    ) -> None:
        data = file(picture(240, 160), "JPEG", quality=90, **options)
        cut = int(len(data) * share)
        while data[cut - 1] == 0xFF:
            cut -= 1
        for error in refused(data[:cut] + end):
            assert "truncated" in error.message

    def test_padding_after_a_scan_is_no_damage(self, picture, file) -> None:
        for options in ({}, {"progressive": True}):
            data = file(picture(120, 80), "JPEG", **options)
            here, sent = both_ways(data[:-2] + bytes(7) + data[-2:])
            assert np.array_equal(here, decode(data, limits=LIMITS).array())
            assert np.array_equal(sent, here)

    @pytest.mark.parametrize("bits", [12, 16])
    def test_more_bits_are_unsupported_and_not_damage(self, jpeg, bits) -> None:
        data = bytearray(jpeg)
        data[data.index(b"\xff\xc0") + 4] = bits
        for error in refused(bytes(data)):
            assert f"unsupported kind: a JPEG with {bits} bits" in error.message
            assert "damaged" not in error.message

    @pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF])
    def test_lossless_and_hierarchical_files_are_unsupported(self, jpeg, marker) -> None:
        for error in refused(jpeg.replace(b"\xff\xc0", bytes((0xFF, marker)), 1)):
            assert "unsupported" in error.message


class TestJfifAndAdobe:
    @pytest.mark.parametrize("thumbnail", [0, 4])
    @pytest.mark.parametrize("transform", [0, 1, None])
    @pytest.mark.parametrize("jfif", [True, False])
    def test_what_is_sent_has_the_colours_of_what_came(self, picture, file, thumbnail, transform, jfif) -> None:
        plain = file(picture(64, 48), "JPEG", quality=95)
        body = plain[20:]
        pixels = bytes((thumbnail, thumbnail)) + bytes(3 * thumbnail * thumbnail)
        head = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1" + pixels) if jfif else b""
        if transform is not None:
            head += segment(0xEE, b"Adobe\0d\0\0\0\0" + bytes((transform,)))
        data = plain[:2] + head + body
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)
        here, sent = both_ways(data)
        assert np.abs(here - expected).max() <= 2
        assert np.abs(sent - expected).max() <= 2
        assert len(picture_only(data, ImageFormat.JPEG)) <= len(plain) + 16

    def test_nothing_hides_in_their_segments(self, jpeg) -> None:
        secret = b"48.8583N"
        hidden = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0" + secret) + segment(0xEE, b"Adobe\0d\0\0\0\0\1" + secret)
        assert secret not in picture_only(jpeg[:2] + hidden + jpeg[2:], ImageFormat.JPEG)


class TestPng:
    def test_a_missing_end_is_made_up_for(self, picture, file) -> None:
        data = file(picture(60, 40), "PNG")
        for missing in (1, 4, 8, 12):
            here, sent = both_ways(data[:-missing])
            assert np.array_equal(here, np.asarray(picture(60, 40)))
            assert np.array_equal(sent, here)

    @pytest.mark.parametrize("kind", [b"pHYs", b"tEXt", b"gAMA", b"iCCP", b"sRGB", b"tRNS", b"eXIf", b"tIME", b"prIv"])
    def test_an_ancillary_chunk_with_a_wrong_checksum_counts_for_nothing(self, picture, file, kind) -> None:
        data = file(picture(60, 40), "PNG")
        bodies = {b"gAMA": struct.pack(">L", 100_000), b"eXIf": tiff_block(SIDEWAYS), b"tRNS": bytes(6)}
        here, sent = both_ways(data[:33] + chunk(kind, bodies.get(kind, bytes(9)), wrong=1) + data[33:])
        assert np.array_equal(here, np.asarray(picture(60, 40)))
        assert np.array_equal(sent, here)

    def test_a_critical_chunk_with_a_wrong_checksum_is_damage(self, picture, file) -> None:
        data = file(picture(60, 40).quantize(16), "PNG")
        for kind in (b"IHDR", b"PLTE", b"IDAT"):
            at = data.index(kind)
            after = at + 4 + int.from_bytes(data[at - 4 : at], "big")
            for error in refused(data[:after] + bytes((data[after] ^ 1,)) + data[after + 1 :]):
                assert "checksum" in error.message

    @pytest.mark.parametrize("pieces", [1, 7])
    def test_pixels_that_end_inside_intact_chunks_are_truncated(self, picture, pieces) -> None:
        pixels = np.asarray(picture(60, 40))
        rows = rows_of_png(pixels)
        whole = zlib.compress(rows)
        assert both_ways(png_of(whole, 60, 40, pieces=pieces))[1].shape == (40, 60, 3)
        for stream in (whole[: len(whole) // 2], whole[:-200], zlib.compress(rows[:-1]), zlib.compress(rows[:-181])):
            for error in refused(png_of(stream, 60, 40, pieces=pieces)):
                assert "truncated" in error.message
        for stream in (b"", b"x\x9c", b"garbage"):
            assert refused(png_of(stream, 60, 40))

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
    @pytest.mark.parametrize("size", [(1, 1), (3, 5), (64, 33)])
    def test_whole_pictures_of_every_mode_are_whole(self, picture, file, mode, size) -> None:
        data = file(picture(*size).convert(mode), "PNG")
        sent = prepare_input(data, Profile(), limits=LIMITS)
        assert sent.data is data or mode in ("1", "LA")

    def test_interlaced_pictures_are_counted_pass_by_pass(self) -> None:
        # Seven passes of a 5x3 grey picture have 10 rows with a filter byte each, and 15 pixels.
        header = struct.pack(">LLBBBBB", 5, 3, 8, 0, 0, 0, 1)

        def interlaced(length: int) -> bytes:
            body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(length)))
            return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")

        rows = sum(-(-(3 - top) // down) for left, top, across, down in _ADAM7 if left < 5 and top < 3)
        assert prepare_input(interlaced(15 + rows), Profile(), limits=LIMITS).size == Size(5, 3)
        assert refused(interlaced(14 + rows))


_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


class TestWebp:
    @pytest.mark.parametrize("lossless", [True, False])
    @pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
    def test_pixels_that_end_inside_an_intact_chunk_are_refused(self, picture, file, lossless, share) -> None:
        data = file(picture(160, 120), "WEBP", lossless=lossless)
        kept = int((len(data) - 20) * share) & ~1
        body = data[8:16] + struct.pack("<L", kept) + data[20 : 20 + kept]
        assert refused(b"RIFF" + struct.pack("<L", len(body)) + body)


class TestGif:
    @pytest.mark.parametrize("stray", [b"\0", b"\0\0\0", b"\x01\x7f"])
    def test_stray_bytes_before_the_frame_are_skipped(self, picture, file, stray) -> None:
        data = file(picture(40, 30), "GIF")
        expected = decode(data, limits=LIMITS).array()
        frame = _frame_of_gif(data)
        here, sent = both_ways(data[:frame] + stray + data[frame:])
        assert np.array_equal(here, expected)
        assert np.array_equal(sent, expected)

    def test_a_frame_whose_codes_end_early_is_truncated(self, picture, file) -> None:
        data = file(picture(90, 70), "GIF")
        frame = _frame_of_gif(data)
        at = frame + 11 + (3 << (data[frame + 9] & 7) + 1 if data[frame + 9] & 0x80 else 0)
        for _ in range(3):
            at += data[at] + 1
        assert refused(data[:at] + b"\0;")


def _frame_of_gif(data: bytes) -> int:
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while data[at] == 0x21:
        at += 2
        while data[at]:
            at += data[at] + 1
        at += 1
    assert data[at] == 0x2C
    return at


class TestResultsOfProviders:
    @pytest.mark.parametrize(("output_format", "missing"), [(ImageFormat.PNG, 12), (ImageFormat.JPEG, 2)])
    def test_a_result_without_its_end_is_made_whole_or_refused(self, picture, file, output_format, missing) -> None:
        data = file(picture(120, 80), output_format.value.upper())

        def finished(result: bytes) -> bytes:
            return finish(result, Wish(None, output_format), limits=LIMITS).data

        whole = decode(finished(data[:-missing]), limits=LIMITS).array().astype(int)
        assert np.abs(whole - decode(data, limits=LIMITS).array()).mean() < 2
        with pytest.raises(GatewayError, match="provider's result") as caught:
            finished(data[: len(data) * 3 // 4])
        assert caught.value.kind is ErrorKind.BAD_RESPONSE


def test_every_sound_file_is_sent_as_it_is(picture, file) -> None:
    saved: list[Callable[[], bytes]] = [
        lambda: file(picture(90, 70), "JPEG", progressive=True),
        lambda: file(picture(90, 70), "JPEG", restart_marker_blocks=1),
        lambda: file(picture(90, 70), "WEBP", lossless=True),
        lambda: file(picture(1, 1), "JPEG"),
        lambda: file(picture(7, 300), "JPEG"),
    ]
    for save in saved:
        data = save()
        assert prepare_input(data, Profile(), limits=LIMITS).data is data
