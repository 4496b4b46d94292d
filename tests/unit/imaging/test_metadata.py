"""Metadata is cut out of a file without decoding it, and the picture survives."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageSequence, PngImagePlugin

from service.core.errors import GatewayError
from service.core.values import ImageFormat
from service.imaging.inspect import EXTRACTED, extract, picture_only

SECRET = b"48.8583N-2.2944E"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def with_exif(picture, file, file_format: str) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    options: dict[str, Any] = {"exif": exif, "icc_profile": PROFILE}
    if file_format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", SECRET.decode())
        text.add_itxt("XML:com.adobe.xmp", SECRET.decode())
        options["pnginfo"] = text
    else:
        options["xmp"] = b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>"
    if file_format == "JPEG":
        options["comment"] = SECRET
    return file(picture(60, 40), file_format, **options)


@pytest.mark.parametrize("found", [ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP])
def test_metadata_goes_and_picture_and_profile_stay(picture, file, found) -> None:
    data = with_exif(picture, file, found.value.upper())
    assert SECRET in data
    clean = picture_only(data, found)
    assert SECRET not in clean
    assert np.array_equal(pixels(clean), pixels(data))
    opened = Image.open(io.BytesIO(clean))
    assert opened.info["icc_profile"] == PROFILE
    assert not opened.getexif()
    assert picture_only(clean, found) is clean


def test_gif_comments_and_further_frames_go(picture, file) -> None:
    frames = [picture(30, 20), picture(30, 20).transpose(Image.Transpose.ROTATE_180)]
    data = file(frames[0], "GIF", save_all=True, append_images=frames[1:], comment=SECRET)
    clean = picture_only(data, ImageFormat.GIF)
    assert SECRET in data
    assert SECRET not in clean
    assert np.array_equal(pixels(clean), pixels(data))
    assert len(list(ImageSequence.Iterator(Image.open(io.BytesIO(clean))))) == 1


@pytest.mark.parametrize("found", sorted(EXTRACTED))
def test_what_follows_the_picture_goes(picture, file, found) -> None:
    data = file(picture(30, 20), found.value.upper())
    assert picture_only(data + SECRET * 100, found) == data


def test_jpeg_thumbnails_and_unknown_segments_go(picture, file) -> None:
    data = file(picture(30, 20), "JPEG")
    with_segments = (
        data[:2]
        + b"".join(
            bytes((0xFF, marker)) + struct.pack(">H", 2 + len(SECRET)) + SECRET
            for marker in (0xE0, 0xE2, 0xED, 0xEE, 0xEF)
        )
        + data[2:]
    )
    assert picture_only(with_segments, ImageFormat.JPEG) == data


def test_progressive_jpeg_with_restart_markers_survives(picture, file) -> None:
    for options in ({"progressive": True}, {"restart_marker_blocks": 1}):
        data = file(picture(90, 70), "JPEG", **options)
        assert picture_only(data, ImageFormat.JPEG) is data


def test_c2pa_manifests_stay_where_asked_for(picture, file) -> None:
    png = file(picture(9, 9), "PNG")
    png = png[:33] + png_chunk(b"caBX", SECRET) + png[33:]
    jpeg = file(picture(9, 9), "JPEG")
    jpeg = jpeg[:2] + b"\xff\xeb" + struct.pack(">H", 2 + len(SECRET)) + SECRET + jpeg[2:]
    webp = file(picture(9, 9), "WEBP")
    webp = (
        b"RIFF"
        + struct.pack("<L", len(webp) + len(SECRET))
        + webp[8:]
        + b"C2PA"
        + struct.pack("<L", len(SECRET))
        + SECRET
    )
    for data, found in ((png, ImageFormat.PNG), (jpeg, ImageFormat.JPEG), (webp, ImageFormat.WEBP)):
        assert picture_only(data, found, keep_provenance=True) is data
        assert SECRET not in picture_only(data, found)


def test_a_wrong_png_checksum_is_found(picture, file) -> None:
    data = bytearray(file(picture(60, 40), "PNG"))
    data[len(data) // 2] ^= 1
    with pytest.raises(GatewayError, match="checksum"):
        picture_only(bytes(data), ImageFormat.PNG)


@pytest.mark.parametrize("found", [ImageFormat.PNG, ImageFormat.WEBP, ImageFormat.GIF])
def test_a_file_cut_short_is_found(picture, file, found) -> None:
    data = file(picture(60, 40), found.value.upper())
    with pytest.raises(GatewayError, match="truncated"):
        picture_only(data[: len(data) * 3 // 4], found)


@pytest.mark.parametrize("found", [ImageFormat.PNG, ImageFormat.JPEG])
def test_a_missing_end_is_added_and_told(picture, file, found) -> None:
    data = file(picture(60, 40), found.value.upper())
    end = {ImageFormat.PNG: 12, ImageFormat.JPEG: 2}[found]
    assert extract(data, found).complete
    for missing in range(1, end + 1):
        extracted = extract(data[:-missing], found)
        assert not extracted.complete
        assert extracted.data == data
