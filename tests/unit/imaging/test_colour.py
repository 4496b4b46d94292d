"""Colours come out as a file says that they are meant; ImageMagick is the judge where it is installed."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from service.catalog.profile import Profile
from service.core.values import ImageFormat
from service.imaging.colour import changes_colours, coded_profile, png_profile
from service.imaging.convert import Wish, finish, prepare_input
from service.imaging.decode import decode
from service.imaging.inspect import ImageLimits

LIMITS = ImageLimits()
LINEAR, SRGB, DISPLAY_P3 = (1, 8), (1, 13), (12, 13)
GREY_LINEAR = coded_profile(*LINEAR, grey=True)
ACROSS, DOWN = np.meshgrid(np.arange(128), np.arange(96))
RGB = np.stack([ACROSS * 2, DOWN * 255 // 95, (ACROSS + DOWN) % 256], -1).astype(np.uint8)
RGB16 = RGB.astype(np.uint16) * 257


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def png(pixels: np.ndarray, colour: int, *before: bytes) -> bytes:
    height, width, _ = pixels.shape
    bits = 16 if pixels.dtype == np.uint16 else 8
    rows = b"".join(b"\0" + row.astype(">u2" if bits == 16 else np.uint8).tobytes() for row in pixels)
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def iccp(profile: bytes | None, name: bytes = b"sRGB") -> bytes:
    assert profile is not None
    return chunk(b"iCCP", name + b"\0\0" + zlib.compress(profile))


def gama(gamma: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">L", round(gamma * 100_000)))


def here_and_sent(data: bytes) -> list[np.ndarray]:
    """The picture as it is decoded here, as a provider is sent it, and as a result of a provider is finished."""
    files = [data, prepare_input(data, Profile(), limits=LIMITS).data]
    files.append(finish(data, Wish(None, ImageFormat.PNG), limits=LIMITS).data)
    return [decode(each, limits=LIMITS).array().astype(int) for each in files]


def srgb_of(light: np.ndarray) -> np.ndarray:
    """The sRGB value, 0 to 255, of light from 0 to 1 (IEC 61966-2-1)."""
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


class TestExactly:
    @pytest.mark.parametrize(
        ("pixels", "colour", "said"),
        [
            (RGB, 2, iccp(coded_profile(*LINEAR))),
            (RGB16, 2, iccp(coded_profile(*LINEAR))),
            (RGB16, 2, gama(1.0)),
            (RGB16, 2, chunk(b"cICP", bytes((*LINEAR, 0, 1)))),
            (RGB[..., :1], 0, iccp(GREY_LINEAR)),
            (RGB[..., :2], 4, iccp(GREY_LINEAR)),
            (RGB16[..., :1], 0, gama(1.0)),
            (RGB16[..., :2], 4, gama(1.0)),
            (np.dstack([RGB, RGB[..., :1]]), 6, iccp(coded_profile(*LINEAR))),
        ],
    )
    def test_linear_light_is_shown_as_such_whatever_it_is_called(self, pixels, colour, said) -> None:
        most = 65_535 if pixels.dtype == np.uint16 else 255
        expected = srgb_of(pixels[..., : 1 if colour in (0, 4) else 3] / most)
        for shown in here_and_sent(png(pixels, colour, said)):
            assert np.abs(shown[..., :3] - expected).max() <= 2

    def test_a_profile_of_srgb_changes_nothing_whatever_it_is_called(self) -> None:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        assert not changes_colours(profile, "RGB ")
        assert not changes_colours(profile.replace(b"sRGB", b"Wide"), "RGB ")
        for shown in here_and_sent(png(RGB, 2, iccp(profile, b"Wide gamut"))):
            assert np.array_equal(shown, RGB)

    @pytest.mark.parametrize("gamma", [0.45455, 0.4545, 0.46])
    def test_the_usual_gamma_is_srgb(self, gamma) -> None:
        assert png_profile({b"gAMA": struct.pack(">L", round(gamma * 100_000))}, grey=False) is None

    def test_what_is_said_first_in_the_standards_order_counts(self) -> None:
        linear = zlib.compress(coded_profile(*LINEAR) or b"")
        chunks = {b"cICP": bytes((*SRGB, 0, 1)), b"iCCP": b"x\0\0" + linear, b"gAMA": struct.pack(">L", 100_000)}
        assert png_profile(chunks, grey=False) is None
        del chunks[b"cICP"]
        assert png_profile(chunks, grey=False) == coded_profile(*LINEAR)
        assert png_profile({b"sRGB": b"\0", b"gAMA": struct.pack(">L", 100_000)}, grey=False) is None

    @pytest.mark.parametrize(
        "chunks",
        [
            {b"gAMA": bytes(4)},
            {b"gAMA": b"\xff" * 4},
            {b"gAMA": struct.pack(">L", 100_000), b"cHRM": bytes(32)},
            {b"gAMA": struct.pack(">L", 100_000), b"cHRM": b"\xff" * 32},
            {b"cICP": b"\xff\xff\xff\xff"},
            {b"iCCP": b"no end"},
            {b"iCCP": b"x\0\0garbage"},
        ],
    )
    def test_senseless_statements_are_survived(self, chunks) -> None:
        data = png(RGB16, 2, *(chunk(kind, body) for kind, body in chunks.items()))
        assert here_and_sent(data)[0].shape == (96, 128, 3)

    @pytest.mark.parametrize("transfer", [16, 18])
    def test_high_dynamic_range_keeps_white_white_and_order(self, transfer) -> None:
        ramp = np.repeat(np.linspace(0, 65_535, 128).astype(np.uint16)[None, :, None], 3, axis=2)
        shown = here_and_sent(png(ramp, 2, chunk(b"cICP", bytes((9, transfer, 0, 1)))))[0][0, :, 1]
        assert (np.diff(shown) >= 0).all()
        assert (shown[0], shown[-1]) == (0, 255)
        assert 40 < shown[48] < 255


IMAGEMAGICK = next((each for each in ("/usr/bin/convert", "/usr/bin/magick") if shutil.which(each)), "")


@pytest.mark.skipif(not IMAGEMAGICK, reason="ImageMagick is not installed (apt-get install imagemagick)")
class TestAgainstImageMagick:
    @pytest.fixture
    def judged(self, tmp_path: Path):
        srgb = tmp_path / "srgb.icc"
        srgb.write_bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())

        def judge(data: bytes) -> None:
            path = tmp_path / "picture"
            path.write_bytes(data)
            command = [IMAGEMAGICK, f"{path}[0]", "-auto-orient", "-profile", str(srgb), "-depth", "8", "rgb:-"]
            seen = subprocess.run(command, capture_output=True, check=True).stdout
            here, sent, finished = here_and_sent(data)
            expected = np.frombuffer(seen, np.uint8).reshape(here.shape[0], here.shape[1], 3).astype(int)
            for shown in (here, finished):
                assert np.abs(shown[..., :3] - expected).max() <= 2
            # A JPEG that has to change stays one, and loses a little.
            assert np.abs(sent[..., :3] - expected).mean() <= 1

        return judge

    @pytest.mark.parametrize("space", [LINEAR, DISPLAY_P3, (9, 4)])
    @pytest.mark.parametrize("kind", ["png", "png16", "jpeg", "webp", "tiff", "grey jpeg"])
    def test_profiles(self, file, judged, space, kind) -> None:
        profile = coded_profile(*space)
        image = Image.fromarray(RGB)
        if kind in ("png", "png16"):
            judged(png(RGB16 if kind == "png16" else RGB, 2, iccp(profile)))
        elif kind == "grey jpeg":
            primaries, transfer = space
            grey = coded_profile(primaries, transfer, grey=True)
            data = file(image.convert("L"), "JPEG", quality=95, icc_profile=grey)
            shown = decode(data, limits=LIMITS).array()
            assert (shown == shown[..., :1]).all()
            judged(data)
        else:
            by_kind: dict[str, dict[str, Any]] = {
                "jpeg": {"quality": 95, "subsampling": 0},
                "webp": {"lossless": True},
            }
            options = by_kind.get(kind, {})
            judged_file = file(image, kind.upper(), icc_profile=profile, **options)
            if kind == "jpeg":
                # Its pixels pass as they are, with the profile.
                assert prepare_input(judged_file, Profile(), limits=LIMITS).data is judged_file
            judged(judged_file)

    @pytest.mark.parametrize("mode", ["CMYK", "L", "RGB", "YCbCr"])
    def test_jpegs_without_a_profile(self, file, judged, mode) -> None:
        judged(file(Image.fromarray(RGB).convert(mode), "JPEG", quality=95, subsampling=0))

    def test_cmyk_tiffs(self, file, judged) -> None:
        judged(file(Image.fromarray(RGB).convert("CMYK"), "TIFF"))
