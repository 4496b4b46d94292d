"""HEIF (ISO/IEC 23008-12) and AVIF: boxes within boxes; properties of the primary item tell what it is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from service.core.values import Size
from service.imaging.formats.base import Header, MalformedError, TruncatedError

# Brands of files whose pictures are coded as HEVC. Those of the general structure ("mif1") are told by the others.
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_SEQUENCE_BRANDS = frozenset((b"avis", b"hevc", b"hevx", b"msf1"))
_MOST_BRANDS = 64
_MOST_PROPERTIES = 4_096
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")


@dataclass(slots=True)
class _Properties:
    """The content of the property boxes. ``of_item`` maps an item to its properties, counted from 1."""

    listed: list[tuple[bytes, int, int]] = field(default_factory=list)
    of_item: dict[int, tuple[int, ...]] = field(default_factory=dict)


def _brands(data: bytes) -> frozenset[bytes]:
    """The brands in the first box; none where that is another box."""
    if data[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(data[:4], "big"), len(data), 16 + 4 * _MOST_BRANDS)
    return frozenset((data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))))


def is_avif(data: bytes) -> bool:
    return not _AVIF_BRANDS.isdisjoint(_brands(data))


def is_heic(data: bytes) -> bool:
    return not _HEIC_BRANDS.isdisjoint(_brands(data))


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields (type, start of the body, end of the body) of each box.

    Raises:
        TruncatedError: A box is longer than what it lies in.
    """
    while at + 8 <= end:
        length, kind = struct.unpack_from(">L4s", data, at)
        body = at + 8
        if length == 1:
            if at + 16 > end:
                raise TruncatedError
            (length,) = struct.unpack_from(">Q", data, at + 8)
            body = at + 16
        after = end if length == 0 else at + length
        if after > end or after < body:
            raise TruncatedError
        yield kind, body, after
        at = after


def read_header(data: bytes) -> Header:
    """Reads the properties of the primary item: its size, rotation, depth and whether alpha belongs to it.

    The EXIF orientation does not count in these formats: rotation and mirroring are properties, and their decoders
    apply them. ``stored_size`` is the size after that.

    Raises:
        MalformedError: The boxes do not say what the primary item is, or are cut short.
    """
    meta = next(((start, end) for kind, start, end in _boxes(data, 0, len(data)) if kind == b"meta"), None)
    if meta is None:
        raise MalformedError("has a damaged header: no picture is described")
    try:
        primary, properties = _read_meta(data, meta[0] + 4, meta[1])
        return _header(data, primary, properties)
    except (struct.error, IndexError):
        raise TruncatedError from None


def _read_meta(data: bytes, start: int, end: int) -> tuple[int, _Properties]:
    primary = -1
    properties = _Properties()
    for kind, body, after in _boxes(data, start, end):
        if kind == b"pitm":
            wide = data[body] > 0
            (primary,) = struct.unpack_from(">L" if wide else ">H", data, body + 4)
        elif kind == b"iprp":
            for inner, inner_body, inner_after in _boxes(data, body, after):
                if inner == b"ipco":
                    properties.listed.extend(_boxes(data, inner_body, inner_after))
                elif inner == b"ipma":
                    _associate(data, inner_body, inner_after, properties)
                if len(properties.listed) > _MOST_PROPERTIES:
                    raise MalformedError("has a damaged header: far too many properties")
    if primary < 0:
        raise MalformedError("has a damaged header: no picture is the primary one")
    return primary, properties


def _associate(data: bytes, at: int, end: int, properties: _Properties) -> None:
    """Reads which item has which properties."""
    version, flags = data[at], data[at + 3]
    (entries,) = struct.unpack_from(">L", data, at + 4)
    at += 8
    for _ in range(entries):
        if at >= end:
            raise TruncatedError
        (item,) = struct.unpack_from(">L" if version else ">H", data, at)
        at += 4 if version else 2
        count = data[at]
        at += 1
        if flags & 1:
            numbers = tuple(number & 0x7FFF for number in struct.unpack_from(f">{count}H", data, at))
            at += 2 * count
        else:
            numbers = tuple(number & 0x7F for number in data[at : at + count])
            at += count
        properties.of_item.setdefault(item, numbers)


def _header(data: bytes, primary: int, properties: _Properties) -> Header:
    size: Size | None = None
    shown: Size | None = None
    bits, turned = 8, False
    for number in properties.of_item.get(primary, ()):
        if not 0 < number <= len(properties.listed):
            continue
        kind, body, after = properties.listed[number - 1]
        if kind == b"ispe":
            size = Size(*struct.unpack_from(">LL", data, body + 4))
        elif kind == b"clap":
            shown = _clean_aperture(data, body)
        elif kind == b"pixi" and after - body > 5:
            bits = max(data[body + 5 : after])
        elif kind == b"irot":
            turned = bool(data[body] & 1)
    if size is None:
        raise MalformedError("has a damaged header: its size is missing")
    # A picture that is hidden in the file may be larger than the one that is shown, and a decoder might open it.
    for kind, body, _ in properties.listed:
        if kind == b"ispe" and _pixels(data, body) > max(size.pixels, _ALWAYS_ALLOWED):
            raise MalformedError("is damaged: a part of it is larger than the whole")
    alpha = any(
        kind == b"auxC" and data[body + 4 : after].startswith(_ALPHA) for kind, body, after in properties.listed
    )
    shown = shown or size
    if shown.width > size.width or shown.height > size.height:
        raise MalformedError("is damaged: a part of it is larger than the whole")
    shown = Size(shown.height, shown.width) if turned else shown
    # Planes, what is made of them, and copies between; measured with the libraries that decode each.
    a_pixel = (27 if is_avif(data) else 7) * (2 if bits > 8 else 1) + (4 if alpha else 0)
    working = size.pixels * a_pixel // 2
    animated = not _SEQUENCE_BRANDS.isdisjoint(_brands(data))
    return Header(shown, "RGBA" if alpha else "RGB", bits, alpha, animated, working_bytes=working)


def _clean_aperture(data: bytes, body: int) -> Size:
    """The size of the part that is shown, stated as fractions: coded pictures have sides of whole blocks."""
    wide, wide_parts, high, high_parts = struct.unpack_from(">LLLL", data, body)
    if not wide_parts or not high_parts:
        raise MalformedError("has a damaged header: its size is missing")
    return Size(wide // wide_parts, high // high_parts)


# Tiles at the right and lower edges jut out, so that a small picture may have a larger tile.
_ALWAYS_ALLOWED = 1 << 22


def _pixels(data: bytes, body: int) -> int:
    width, height = struct.unpack_from(">LL", data, body + 4)
    return int(width * height)
