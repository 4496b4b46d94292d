"""BMP (Windows bitmaps): a file header, one of a few information headers, a palette, then rows."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from service.core.values import Size
from service.imaging.formats.base import Header, MalformedError, TruncatedError, UnsupportedError

_CORE_HEADER = 12
_HEADERS = (_CORE_HEADER, 40, 52, 56, 64, 108, 124)
_UNCOMPRESSED, _RLE8, _RLE4, _BIT_FIELDS, _ALPHA_BIT_FIELDS = 0, 1, 2, 3, 6
_RUN_LENGTH_BITS = {_RLE8: 8, _RLE4: 4}


def is_bmp(data: bytes) -> bool:
    """Whether it begins as a BMP does: two letters alone would be too little to go by."""
    return data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _HEADERS


def read_header(data: bytes) -> Header:
    """Reads the headers and, for rows of fixed length, checks that all of them are there.

    Raises:
        MalformedError: The header is missing, contradictory or cut short.
        UnsupportedError: The rows are a JPEG or PNG file, or of an unusual depth.
    """
    if len(data) < 26:
        raise TruncatedError
    offset, header = struct.unpack_from("<LL", data, 10)
    if len(data) < 14 + header:
        raise TruncatedError
    compression = _UNCOMPRESSED
    if header == _CORE_HEADER:
        width, height, planes, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, planes, bits, compression = struct.unpack_from("<llHHL", data, 18)
    if planes != 1 or width < 0:
        raise MalformedError("has a damaged BMP header")
    size = Size(width, abs(height))
    if compression in _RUN_LENGTH_BITS:
        if bits != _RUN_LENGTH_BITS[compression]:
            raise MalformedError("has a damaged BMP header")
    elif compression not in (_UNCOMPRESSED, _BIT_FIELDS, _ALPHA_BIT_FIELDS) or bits not in (1, 4, 8, 16, 24, 32):
        raise UnsupportedError(f"a BMP of {bits} bits a pixel, compression {compression}", "save it as PNG")
    elif len(data) < offset + size.height * ((size.width * bits + 31) // 32 * 4):
        raise TruncatedError
    if bits <= 8:
        return Header(size, "P", 8, has_alpha=False, animated=False, working_bytes=size.pixels * 3 // 2)
    has_alpha = bits == 32 and (compression == _ALPHA_BIT_FIELDS or (compression == _BIT_FIELDS and header >= 56))
    mode, channels = ("RGBA", 4) if has_alpha else ("RGB", 3)
    # Others than plain rows are decoded as a whole, four bytes a pixel, and held once more as an array.
    working = 0 if _is_plain(bits, compression) else (4 + channels) * size.pixels
    return Header(size, mode, 8, has_alpha, animated=False, working_bytes=working)


def _is_plain(bits: int, compression: int) -> bool:
    return bits in (24, 32) and compression == _UNCOMPRESSED


@dataclass(frozen=True, slots=True)
class Rows:
    """The pixel layout of an uncompressed picture: blue, green, red, and possibly one unused byte.

    Attributes:
        start: Of the first row.
        stride: Bytes from one row to the next.
        channels: Bytes of a pixel: 3 or 4.
        upward: Whether the first row is the lowest.
    """

    start: int
    stride: int
    channels: int
    upward: bool


def plain_rows(data: bytes) -> Rows | None:
    """The rows of a file that ``read_header`` has read; None where they are packed or indexes into a palette."""
    start, header = struct.unpack_from("<LL", data, 10)
    if header == _CORE_HEADER:
        width, _, _, bits = struct.unpack_from("<HHHH", data, 18)
        height, compression = 1, _UNCOMPRESSED
    else:
        width, height, _, bits, compression = struct.unpack_from("<llHHL", data, 18)
    if not _is_plain(bits, compression):
        return None
    return Rows(start, (width * bits + 31) // 32 * 4, bits // 8, upward=height > 0)
