"""Colours as they are meant: from a file's own colour space to sRGB."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_LARGEST_PROFILE: Final = 4_000_000
"""Bytes; printers' profiles come to 3 MB."""

_GREY, _RGB, _CMYK = "GRAY", "RGB ", "CMYK"
_SPACES = {"b-w": _GREY, "grey16": _GREY, "srgb": _RGB, "rgb": _RGB, "rgb16": _RGB, "cmyk": _CMYK}
_MODES = {_GREY: "L", _RGB: "RGB", _CMYK: "CMYK"}
# The profile that a picture has from here on is sRGB: what was embedded goes.
_PROFILE_FIELD = "icc-profile-data"


def to_srgb(image: Any, profile: bytes | None, has_alpha: bool) -> Any:
    """A libvips image of any colour space as one of three (with alpha: four) 8-bit channels in sRGB.

    Args:
        profile: The ICC profile that the values mean. It counts for what it does, whatever it is called; one that is
            damaged or for other channels is no reason to refuse a picture, and is ignored. None: the usual meaning.
    """
    space = _SPACES.get(image.interpretation, "")
    if image.get_typeof(_PROFILE_FIELD):
        image = image.copy()
        image.remove(_PROFILE_FIELD)
    if profile is not None and space and changes_colours(profile, space):
        converted = _transformed(image, profile)
        if converted is not None:
            return _of_bands(converted, has_alpha)
    if space == _CMYK:
        # Without a profile, inks are subtracted from white, as every viewer without colour management does.
        inks = _eight_bits(image)
        light = (255 - inks.extract_band(0, n=3)) * (255 - inks.extract_band(3)) / 255
        image = light.rint().cast("uchar").copy(interpretation="srgb")
    else:
        image = _eight_bits(image)
        if image.bands < 3:
            grey = image.extract_band(0)
            image = grey.bandjoin([grey, grey, *([image.extract_band(1)] if image.bands == 2 else [])])
    return _of_bands(image.copy(interpretation="srgb"), has_alpha)


def _of_bands(image: Any, has_alpha: bool) -> Any:
    """The image with as many channels as it is said to have."""
    bands = 4 if has_alpha else 3
    if image.bands > bands:
        return image.extract_band(0, n=bands)
    return image if image.bands == bands else image.bandjoin(255)


def _eight_bits(image: Any) -> Any:
    if image.format == "uchar":
        return image
    if image.format == "ushort":
        return image.linear(1 / 257, 0.5, uchar=True)
    return image.rint().cast("uchar")


def _transformed(image: Any, profile: bytes) -> Any:
    """The image in sRGB by the profile; None where the profile turns out to be of no use after all."""
    import pyvips

    tagged = image.copy()
    tagged.set_type(pyvips.GValue.blob_type, _PROFILE_FIELD, profile)
    try:
        # Little CMS samples a path through Lab at few points, which is 10 of 255 off in the darks of a linear grey.
        space = "lab" if profile[20:24] == b"Lab " and profile[16:20] != b"GRAY" else "xyz"
        light = tagged.icc_import(embedded=True, intent="perceptual", pcs=space)
        converted = light.icc_export(output_profile="srgb", intent="perceptual", pcs=space, depth=8)
    except pyvips.Error:
        return None
    converted = converted.copy()
    converted.remove(_PROFILE_FIELD)
    if profile[16:20] != b"GRAY":
        return converted
    # Rounding must not tint a grey.
    grey = converted.extract_band(1)
    rest = [converted.extract_band(band) for band in range(3, converted.bands)]
    return grey.bandjoin([grey, grey, *rest]).copy(interpretation="srgb")


@lru_cache(maxsize=64)
def changes_colours(profile: bytes, space: str) -> bool:
    """Whether a profile can be applied to values of a colour space, and makes other colours of them than sRGB's.

    Args:
        space: ``GRAY``, ``RGB `` or ``CMYK``, as ICC profiles name it.
    """
    if len(profile) > _LARGEST_PROFILE:
        return False
    probe = _probe(space)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != space:
            return False
        seen = ImageCms.profileToProfile(probe, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except Exception:
        # Little CMS raises what it likes about hostile profiles.
        return False
    if seen is None:
        return False
    if space == _CMYK:
        return True
    difference = np.asarray(seen, int) - np.asarray(probe.convert("RGB"), int)
    return int(np.abs(difference).max()) > _SAME_WITHIN


_SAME_WITHIN: Final = 1
"""Of 255: profiles of sRGB round by this much."""


def _probe(space: str) -> Image.Image:
    """Colours from all over a space: all greys, or a grid of six by six by six."""
    if space == _GREY:
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    if space == _CMYK:
        return Image.new("CMYK", (4, 4))
    levels = np.linspace(0, 255, 6, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    return Image.fromarray(grid)


# Chromaticities (x, y) of red, green, blue and white, by their numbers in ITU-T H.273, table 2.
_D65 = (0.3127, 0.3290)
_PRIMARIES: Mapping[int, tuple[tuple[float, float], ...]] = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}
_SRGB_PRIMARIES = _PRIMARIES[1]
_D50_XYZ = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]
# Diffuse white of the high-dynamic-range systems (ITU-R BT.2408): 203 of 10,000 cd/m2, and the HLG signal 0.75.
# Brighter lights are clipped to it.
_WHITE_NITS, _HLG_WHITE = 203.0, 0.75


def _srgb_curve(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _bt709_curve(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(value < 0.081, value / 4.5, ((value + 0.099) / 1.099) ** (1 / 0.45))


def _pq_curve(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084, in multiples of diffuse white."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = value ** (1 / m2)
    return (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1) * 10_000 / _WHITE_NITS


def _hlg_curve(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of ITU-R BT.2100's HLG OETF, in multiples of diffuse white."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073

    def scene(signal: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)

    return scene(value) / scene(np.array(_HLG_WHITE))


def _power(exponent: float) -> Curve:
    return lambda value: value**exponent


# Transfer characteristics of H.273, table 3.
_CURVES: Mapping[int, Curve] = {
    1: _bt709_curve,
    4: _power(2.2),
    5: _power(2.8),
    6: _bt709_curve,
    8: _power(1.0),
    13: _srgb_curve,
    14: _bt709_curve,
    15: _bt709_curve,
    16: _pq_curve,
    18: _hlg_curve,
}
_SRGB_CODE = (1, 13)
# Decoders take an encoding exponent this near to 1/2.2 for sRGB, as libpng does.
_SRGB_GAMMA, _GAMMA_TOLERANCE = 0.45455, 0.05


def png_profile(chunks: Mapping[bytes, bytes], grey: bool) -> bytes | None:
    """The ICC profile that a PNG's colour chunks amount to; None for sRGB.

    The first of cICP, iCCP, sRGB and gAMA (with cHRM) that is there and can be used counts (PNG, third edition, 4.3).

    Args:
        chunks: The chunks' bodies by type.
        grey: Whether the picture is grey.
    """
    code = chunks.get(b"cICP", b"")
    if len(code) == 4 and code[2] == 0 and code[3] == 1:
        if (code[0], code[1]) == _SRGB_CODE:
            return None
        profile = coded_profile(code[0], code[1], grey)
        if profile is not None:
            return profile
    if b"iCCP" in chunks:
        return _inflated_profile(chunks[b"iCCP"])
    if b"sRGB" in chunks or len(chunks.get(b"gAMA", b"")) != 4:
        return None
    gamma = int.from_bytes(chunks[b"gAMA"], "big") / 100_000
    primaries = _stated_primaries(chunks.get(b"cHRM", b"")) or _SRGB_PRIMARIES
    near_srgb = abs(gamma / _SRGB_GAMMA - 1) <= _GAMMA_TOLERANCE
    if near_srgb and (grey or np.allclose(primaries, _SRGB_PRIMARIES, atol=0.002)):
        return None
    if not 0.05 <= gamma <= 5:
        return None
    return _profile(primaries, _srgb_curve if near_srgb else _power(1 / gamma), grey)


def coded_profile(primaries: int, transfer: int, grey: bool = False) -> bytes | None:
    """The profile of a colour space by its numbers in ITU-T H.273; None for sRGB and for unknown numbers."""
    if (primaries, transfer) == _SRGB_CODE or primaries not in _PRIMARIES or transfer not in _CURVES:
        return None
    return _profile(_PRIMARIES[primaries], _CURVES[transfer], grey)


def _inflated_profile(body: bytes) -> bytes | None:
    """The profile in an iCCP chunk: a name, a zero, the method 0, zlib data."""
    _, zero, rest = body.partition(b"\0")
    if not zero or rest[:1] != b"\0":
        return None
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(rest[1:], _LARGEST_PROFILE + 1)
    except zlib.error:
        return None
    return profile if len(profile) <= _LARGEST_PROFILE else None


def _stated_primaries(body: bytes) -> tuple[tuple[float, float], ...] | None:
    """A cHRM chunk's chromaticities: red, green, blue, white; None where they make no sense."""
    if len(body) != 32:
        return None
    wx, wy, *rest = (value / 100_000 for value in struct.unpack(">8L", body))
    pairs = ((rest[0], rest[1]), (rest[2], rest[3]), (rest[4], rest[5]), (wx, wy))
    if any(not 0 <= x <= 1 or not 0.001 <= y <= 1 for x, y in pairs):
        return None
    (rx, ry), (gx, gy), (bx, by), _ = pairs
    area = abs((gx - rx) * (by - ry) - (bx - rx) * (gy - ry))
    return pairs if area > 0.001 else None


def _xyz(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _colorants(primaries: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """Columns of XYZ of red, green and blue, adapted from their own white to D50 (ICC.1, annex E; Bradford)."""
    red, green, blue, white_point = (_xyz(*each) for each in primaries)
    columns = np.stack((red, green, blue), axis=1)
    columns = columns * np.linalg.solve(columns, white_point)
    gain = (_BRADFORD @ np.array(_D50_XYZ)) / (_BRADFORD @ white_point)
    return np.asarray(np.linalg.inv(_BRADFORD) @ np.diag(gain) @ _BRADFORD @ columns)


def _profile(primaries: tuple[tuple[float, float], ...], curve: Curve, grey: bool) -> bytes:
    """An ICC profile (version 2) of a display with these primaries and this curve from values to light."""
    samples = np.clip(curve(np.linspace(0, 1, 4096)), 0, 1)
    table = struct.pack(">4sLL", b"curv", 0, 4096) + np.rint(samples * 65_535).astype(">u2").tobytes()
    tags = {b"desc": _description(), b"cprt": b"text\0\0\0\0\0", b"wtpt": _xyz_tag(np.array(_D50_XYZ))}
    if grey:
        tags[b"kTRC"] = table
    else:
        colorants = _colorants(primaries)
        for channel, letter in enumerate((b"r", b"g", b"b")):
            tags[letter + b"XYZ"] = _xyz_tag(colorants[:, channel])
            tags[letter + b"TRC"] = table
    return _icc_file(b"GRAY" if grey else b"RGB ", tags)


def _icc_file(space: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    """Header, tag table and tags (ICC.1:2001-04, 6); equal tags are stored once."""
    at = 128 + 4 + 12 * len(tags)
    listed, bodies, places = b"", b"", {}
    for name, body in tags.items():
        if body not in places:
            places[body] = at + len(bodies)
            bodies += body + b"\0" * (-len(body) % 4)
        listed += struct.pack(">4sLL", name, places[body], len(body))
    illuminant = b"".join(struct.pack(">l", round(each * 65_536)) for each in _D50_XYZ)
    header = struct.pack(
        ">L4sL4s4s4s12s4s16s8sL12s48s",
        *(at + len(bodies), b"", 0x02100000, b"mntr", space, b"XYZ ", b"", b"acsp", b"", b"", 0),
        *(illuminant, b""),
    )
    return header + struct.pack(">L", len(tags)) + listed + bodies


def _description() -> bytes:
    name = b"stated\0"
    return struct.pack(">4sLL", b"desc", 0, len(name)) + name + bytes(78)


def _xyz_tag(xyz: NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">l", round(float(each) * 65_536)) for each in xyz)
