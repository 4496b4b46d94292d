"""WebP (RFC 9649): a RIFF container of chunks, each with a type, a length and padding to an even length."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from service.core.values import Size
from service.imaging.formats.base import Extract, Header, MalformedError, TruncatedError, exif_orientation

_ALPHA_FLAG, _EXIF_FLAG, _XMP_FLAG, _ANIMATION_FLAG = 0x10, 0x08, 0x04, 0x02
_PICTURE = frozenset((b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"))
_PROVENANCE = b"C2PA"


def is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields (type, start of the data, end of the data) of each chunk.

    Raises:
        TruncatedError: The file is shorter than its own header or a chunk says.
    """
    if len(data) < 20:
        raise TruncatedError
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise TruncatedError
    at = 12
    while at + 8 <= end:
        after = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        if after > end:
            raise TruncatedError
        yield data[at : at + 4], at + 8, after
        at = after + (after & 1)


def _lossy_size(data: bytes, start: int, end: int) -> Size:
    if end - start < 10 or data[start + 3 : start + 6] != b"\x9d\x01\x2a":
        raise MalformedError("has a damaged WebP header")
    width, height = struct.unpack_from("<HH", data, start + 6)
    return Size(width & 0x3FFF, height & 0x3FFF)


def _lossless_size(data: bytes, start: int, end: int) -> tuple[Size, bool]:
    if end - start < 5 or data[start] != 0x2F:
        raise MalformedError("has a damaged WebP header")
    bits = int.from_bytes(data[start + 1 : start + 5], "little")
    return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1), bool(bits >> 28 & 1)


def read_header(data: bytes) -> Header:
    """Reads the first chunk and, in the extended format, finds the EXIF chunk.

    Raises:
        MalformedError: The first chunk is not one that a WebP file starts with, or the file is cut short.
    """
    alpha = animated = False
    orientation = 1
    rest = chunks(data)
    kind, start, end = next(rest, (b"", 0, 0))
    if kind == b"VP8 ":
        size = _lossy_size(data, start, end)
    elif kind == b"VP8L":
        size, alpha = _lossless_size(data, start, end)
    elif kind == b"VP8X" and end - start == 10:
        flags = data[start]
        alpha, animated = bool(flags & _ALPHA_FLAG), bool(flags & _ANIMATION_FLAG)
        width = int.from_bytes(data[start + 4 : start + 7], "little") + 1
        height = int.from_bytes(data[start + 7 : start + 10], "little") + 1
        size = Size(width, height)
        if flags & _EXIF_FLAG:
            orientation = _orientation(data, rest)
    else:
        raise MalformedError("has a damaged WebP header")
    working, reducible = _frame_bytes(data, size, alpha)
    return Header(
        *(size, "RGBA" if alpha else "RGB", 8, alpha, animated, orientation),
        working_bytes=working,
        reducible_bytes=reducible,
    )


def _frame_bytes(data: bytes, size: Size, alpha: bool) -> tuple[int, int]:
    """The decoder's memory, and the part of it that shrinks with the picture. Measured with libwebp 1.6.

    A lossless picture is held whole, as a lossy one's alpha is; the rest is the frame that is handed out.
    """
    lossless = any(kind == b"VP8L" for kind, _, _ in chunks(data))
    fixed, frame = (4, 1) if lossless else (2, 3) if alpha else (0, 5)
    return size.pixels * fixed, size.pixels * frame


def _orientation(data: bytes, rest: Iterator[tuple[bytes, int, int]]) -> int:
    for kind, start, end in rest:
        if kind == b"EXIF":
            # Some writers put JPEG's prefix before the block, which the format does not ask for.
            skip = 6 if data[start : start + 6] == b"Exif\0\0" else 0
            return exif_orientation(memoryview(data)[start + skip : end])
    return 1


def picture_only(data: bytes, *, keep_provenance: bool) -> Extract:
    """The file without anything but its picture.

    Raises:
        MalformedError: No picture is in it, or the file is cut short.
    """
    kept: list[bytes] = []
    has_picture = False
    for kind, start, end in chunks(data):
        if kind == b"VP8X" and end - start == 10:
            flags = data[start] & ~(_EXIF_FLAG | _XMP_FLAG)
            kept.append(b"VP8X\x0a\x00\x00\x00" + bytes((flags,)) + data[start + 1 : start + 10])
        elif kind in _PICTURE or (keep_provenance and kind == _PROVENANCE):
            has_picture = has_picture or kind in (b"VP8 ", b"VP8L", b"ANMF")
            kept.append(data[start - 8 : end] + b"\x00" * (end & 1))
    if not has_picture:
        raise MalformedError("holds no picture")
    body = b"WEBP" + b"".join(kept)
    picture = b"RIFF" + len(body).to_bytes(4, "little") + body
    return Extract(data if picture == data else picture)


def has_manifest(data: bytes) -> bool:
    """Whether a C2PA manifest is embedded: a C2PA chunk with a JUMBF superbox (C2PA 2.2, A.3.6)."""
    return any(kind == _PROVENANCE and data[start + 4 : start + 8] == b"jumb" for kind, start, _ in chunks(data))
