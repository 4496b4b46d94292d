"""PNG (ISO/IEC 15948, PNG third edition): a signature, then chunks of length, type, data and CRC-32."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from isal import igzip_lib, isal_zlib
from isal.isal_zlib import crc32
from numpy.typing import NDArray

from service.core.values import Size
from service.imaging.formats.base import Extract, Header, MalformedError, TruncatedError, exif_orientation, join_kept

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}

_CRITICAL = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND"))
# The chunks that decide how the still picture looks. Text, times, EXIF, unknown chunks and further frames do not.
_PICTURE = _CRITICAL | frozenset(b"tRNS gAMA cHRM sRGB iCCP cICP sBIT bKGD pHYs".split())
# The colour chunks: the third edition's chunk order puts them before PLTE and IDAT.
_COLOUR = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
_PROVENANCE = b"caBX"
_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
# Perceptual intent (11.3.2.5); what is written here is sRGB.
_SRGB_CHUNK = b"\x00\x00\x00\x01sRGB\x00\xae\xce\x1c\xe9"
# Adam7 (8.2): for each pass the first column and row, and the steps between columns and rows.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_chunk_header = struct.Struct(">L4s")


def read_header(data: bytes) -> Header:
    """Reads up to the first pixel data.

    Raises:
        MalformedError: The header is missing, contradictory or cut short.
    """
    if len(data) < 33:
        raise TruncatedError
    width, height, bits, colour, compression, filtering, interlace = struct.unpack_from(">LLBBBBB", data, 16)
    if data[8:16] != b"\x00\x00\x00\x0dIHDR" or bits not in _DEPTHS.get(colour, ()):
        raise MalformedError("has a damaged PNG header")
    if compression or filtering or interlace > 1:
        raise MalformedError("has a PNG header with unknown compression, filter or interlace methods")
    transparent = animated = False
    orientation = 0
    view = memoryview(data)
    at, end = 33, len(data)
    while at + 12 <= end:
        length, kind = _chunk_header.unpack_from(data, at)
        if kind == b"IDAT":
            break
        after = at + 12 + length
        if kind == b"tRNS" and _is_sound(view, at, after):
            transparent = True
        elif kind == b"acTL":
            animated = True
        elif kind == b"eXIf" and not orientation and _is_sound(view, at, after):
            orientation = exif_orientation(view[at + 8 : after - 4])
        at = after
    else:
        raise TruncatedError
    mode = "1" if (bits, colour) == (1, 0) else _MODES[colour]
    # The rows of an interlaced picture are spread over the whole file: it is held, and copied once.
    working = 2 * width * height * (_CHANNELS[colour] + (colour == 3) * 2 + transparent) * (2 if bits == 16 else 1)
    return Header(
        Size(width, height),
        mode,
        bits,
        transparent or colour in (4, 6),
        animated,
        orientation or 1,
        working_bytes=working if interlace else 0,
    )


def _is_sound(view: memoryview, at: int, after: int) -> bool:
    """Whether the chunk from ``at`` to ``after`` is all there and has the checksum that it says."""
    return after <= len(view) and crc32(view[at + 4 : after - 4]) == int.from_bytes(view[after - 4 : after], "big")


def picture_only(data: bytes, *, keep_provenance: bool) -> Extract:
    """The file without anything but its still picture.

    Every chunk's CRC is checked. An ancillary chunk whose checksum is wrong goes, as libpng and browsers have it,
    and a missing end is added.

    Raises:
        MalformedError: A critical chunk's checksum is wrong, the header comes twice, or the file is cut short.
    """
    view = memoryview(data)
    kept: list[tuple[int, int] | bytes] = [(0, 8)]
    at, end = 8, len(data)
    has_pixels = False
    while at + 12 <= end:
        length, kind = _chunk_header.unpack_from(data, at)
        after = at + 12 + length
        if after > end and (kind in _CRITICAL or not has_pixels):
            raise TruncatedError
        if kind in _PICTURE or (keep_provenance and kind == _PROVENANCE):
            if _is_sound(view, at, after):
                kept.append((at, after))
            elif kind in _CRITICAL:
                raise MalformedError(f"is damaged: the checksum of its {kind.decode('ascii')} data is wrong")
            if kind == b"IHDR" and at != 8:
                raise MalformedError("is damaged: it has two headers")
            has_pixels = has_pixels or kind == b"IDAT"
        if kind == b"IEND":
            return Extract(join_kept(data, kept))
        at = after
    if not has_pixels:
        raise TruncatedError
    return Extract(join_kept(data, [*kept, _END]), complete=False)


def colour_chunks(data: bytes) -> dict[bytes, bytes]:
    """The bodies of the sound chunks that say what the colours mean: cICP, iCCP (compressed), sRGB, gAMA, cHRM."""
    found: dict[bytes, bytes] = {}
    view = memoryview(data)
    at, end = 33, len(data)
    while at + 12 <= end:
        length, kind = _chunk_header.unpack_from(data, at)
        after = at + 12 + length
        if kind == b"IDAT" or after > end:
            break
        if kind in _COLOUR and kind not in found and _is_sound(view, at, after):
            found[kind] = data[at + 8 : after - 4]
        at = after
    return found


def holds_all_pixels(data: bytes) -> bool:
    """Whether the compressed data inflates to as many rows as the header says; pixels are not made.

    Args:
        data: A file as ``picture_only`` gives it.

    Returns:
        False where data is missing, behind checksums that are right or not.
    """
    width, height, bits, colour, _, _, interlace = struct.unpack_from(">LLBBBBB", data, 16)
    wanted = _filtered_bytes(width, height, bits * _CHANNELS[colour], bool(interlace))
    inflater = isal_zlib.decompressobj()
    try:
        for kind, start, after in chunks(data):
            if kind != b"IDAT":
                continue
            piece: bytes | memoryview = memoryview(data)[start:after]
            while piece and wanted > 0:
                wanted -= len(inflater.decompress(piece, _INFLATED_AT_ONCE))
                if inflater.eof:
                    return wanted <= 0
                piece = inflater.unconsumed_tail
            if wanted <= 0:
                return True
    except igzip_lib.error:  # type: ignore[misc]  # isal's stubs call its class a type only
        return False
    return wanted - len(inflater.flush()) <= 0


_INFLATED_AT_ONCE = 1 << 18


def _filtered_bytes(width: int, height: int, bits_per_pixel: int, interlaced: bool) -> int:
    """The length of the picture before compression (7.2, 8.1): each row with its filter type before it."""
    if not interlaced:
        return height * (1 + (width * bits_per_pixel + 7) // 8)
    total = 0
    for left, top, across, down in _PASSES:
        columns, rows = (width - left + across - 1) // across, (height - top + down - 1) // down
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits_per_pixel + 7) // 8)
    return total


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields (type, start of the body, end of the body) of each chunk that is all there, up to the end's."""
    at, end = 8, len(data)
    while at + 12 <= end:
        length, kind = _chunk_header.unpack_from(data, at)
        after = at + 12 + length
        if after > end:
            return
        yield kind, at + 8, after - 4
        if kind == b"IEND":
            return
        at = after


def has_manifest(data: bytes) -> bool:
    """Whether a C2PA manifest is embedded: a caBX chunk with a JUMBF superbox (C2PA 2.2, A.3.2)."""
    return any(kind == _PROVENANCE and data[start + 4 : start + 8] == b"jumb" for kind, start, _ in chunks(data))


def write(strips: Iterable[NDArray[np.uint8]], size: Size, channels: int, *, level: int = 1) -> bytes:
    """A PNG file, marked as sRGB, of rows that come in strips; memory for a few strips is all it takes.

    Every row gets the Average filter (9.2 of the specification), computed for all rows of a strip at once. At level
    1 it is then compressed by run lengths: for photographs of a megapixel that is three times as fast as Pillow's
    fastest level, which tries five filters for every row, and a few per cent smaller; decoders cannot tell.

    Args:
        strips: Arrays of shape (rows, width, channels), dtype uint8, from the top down.
        size: Of the whole picture.
        channels: 3 for RGB, 4 for RGBA.
        level: 0 (stored) and 1 (run lengths) to 9 (small), as zlib's.
    """
    packer = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE if level == 1 else zlib.Z_FILTERED)
    packed: list[bytes] = []
    above = np.zeros(size.width * channels, np.uint8)
    for strip in strips:
        for first in range(0, len(strip), _ROWS_AT_ONCE):
            flat = strip[first : first + _ROWS_AT_ONCE].reshape(-1, size.width * channels)
            packed.append(packer.compress(_averaged(flat, above, channels).data))
            above = flat[-1]
    packed.append(packer.flush())
    header = struct.pack(">LLBBBBB", size.width, size.height, 8, 2 if channels == 3 else 6, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _SRGB_CHUNK + _chunk(b"IDAT", b"".join(packed)) + _END


# A strip and what is computed from it stay in a processor's cache.
_ROWS_AT_ONCE = 64


def _averaged(flat: NDArray[np.uint8], above: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Rows of bytes with the filter type before each: 3, Average. ``above`` is the row before the first."""
    left, upper = np.zeros_like(flat), np.empty_like(flat)
    left[:, channels:] = flat[:, :-channels]
    upper[0], upper[1:] = above, flat[:-1]
    rows = np.empty((len(flat), 1 + flat.shape[1]), np.uint8)
    rows[:, 0] = 3
    # (left & upper) + ((left ^ upper) >> 1) is half their sum, rounded down, without leaving 8 bits.
    np.subtract(flat, (left & upper) + ((left ^ upper) >> 1), out=rows[:, 1:])
    return rows


def _chunk(kind: bytes, body: bytes) -> bytes:
    return _chunk_header.pack(len(body), kind) + body + crc32(body, crc32(kind)).to_bytes(4, "big")
