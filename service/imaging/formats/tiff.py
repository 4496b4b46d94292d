"""TIFF 6.0: a header, then directories of tags. The first directory's picture is the one that is taken."""

from __future__ import annotations

import struct

from service.core.values import Size
from service.imaging.formats.base import BYTE_ORDERS, Header, MalformedError, TruncatedError, UnsupportedError

SIGNATURES = (b"II*\x00", b"MM\x00*")
_MOST_ENTRIES = 4096
# BYTE, SHORT and LONG: their struct codes and lengths in bytes.
_CODES = {1: ("B", 1), 3: ("H", 2), 4: ("L", 4)}

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 259, 262, 274
_CHANNELS, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA, _SAMPLE_FORMAT = 277, 322, 323, 338, 339
_STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES = 273, 278, 279, 324, 325
_READ = frozenset((_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _CHANNELS, _TILE_WIDTH)) | {
    *(_TILE_HEIGHT, _EXTRA, _SAMPLE_FORMAT, _STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES)
}

# None, LZW, JPEG, deflate (two numbers), PackBits: what cameras, scanners and picture editors write.
_COMPRESSIONS = frozenset((1, 5, 7, 8, 32773, 32946))
_JPEG, _YCBCR = 7, 6
_MODES = {0: "L", 1: "L", 2: "RGB", 3: "P", 5: "CMYK", 6: "RGB"}
_COLOURS = {"L": 1, "P": 1, "RGB": 3, "CMYK": 4}
_LARGEST_TILE_SIDE = 4096
_MOST_PIECES = 100_000


def read_header(data: bytes) -> Header:
    """Reads the first directory, and checks that every strip or tile lies within the file.

    Raises:
        MalformedError: The directory is missing, contradictory or cut short.
        UnsupportedError: The picture is compressed or laid out in a way that is not decoded here.
    """
    order = BYTE_ORDERS[data[:2]]
    tags, following = _first_directory(data, order)
    size = Size(_one(tags, _WIDTH), _one(tags, _HEIGHT))
    compression, photometric = _one(tags, _COMPRESSION, 1), _one(tags, _PHOTOMETRIC)
    mode = _MODES.get(photometric, "")
    # Without JPEG around it, YCbCr comes subsampled in ways of its own.
    if not mode or compression not in _COMPRESSIONS or (photometric == _YCBCR and compression != _JPEG):
        kind = f"a TIFF of compression {compression} and colour model {photometric}"
        raise UnsupportedError(kind, "save it as PNG or JPEG")
    bits = set(tags.get(_BITS, (1,)))
    formats = set(tags.get(_SAMPLE_FORMAT, (1,)))
    if len(bits) != 1 or not bits <= {1, 2, 4, 8, 16} or formats != {1}:
        raise UnsupportedError("a TIFF of unusual sample values", "save it with 8 or 16 bits a channel")
    channels, colours = _one(tags, _CHANNELS, 1), _COLOURS[mode]
    if not colours <= channels <= colours + 1:
        raise UnsupportedError(f"a TIFF of {channels} channels", "save it as PNG or JPEG")
    _check_pieces(data, tags)
    has_alpha = channels > colours and mode != "CMYK" and _one(tags, _EXTRA, 0) in (1, 2)
    orientation = _one(tags, _ORIENTATION, 1)
    named = {"L": "LA", "RGB": "RGBA"}.get(mode, mode) if has_alpha else mode
    depth = bits.pop()
    return Header(
        size,
        named,
        max(depth, 8),
        has_alpha,
        animated=_next_directory(data, following) != 0,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        working_bytes=size.width * _rows_at_once(tags, size) * channels * max(1, depth // 8),
    )


def _rows_at_once(tags: dict[int, tuple[int, ...]], size: Size) -> int:
    """The rows that are decoded together: those of a strip, which may be the whole picture, or of a row of tiles."""
    return min(size.height, _one(tags, _TILE_HEIGHT if _TILE_WIDTH in tags else _ROWS_PER_STRIP, size.height))


def first_page(data: bytes) -> bytes:
    """The file as if no directory followed the first: libtiff would walk the whole chain, however long."""
    _, following = _first_directory(data, BYTE_ORDERS[data[:2]])
    if _next_directory(data, following) == 0:
        return data
    return b"".join((memoryview(data)[:following], bytes(4), memoryview(data)[following + 4 :]))


def _next_directory(data: bytes, at: int) -> int:
    """The offset of a directory that follows, in some byte order; 0: none does."""
    return int.from_bytes(data[at : at + 4], "big")


def _first_directory(data: bytes, order: str) -> tuple[dict[int, tuple[int, ...]], int]:
    """The tags that matter, with their values, and where the offset of the next directory is stored."""
    if len(data) < 8:
        raise TruncatedError
    (at,) = struct.unpack_from(order + "L", data, 4)
    if at + 2 > len(data):
        raise TruncatedError
    (entries,) = struct.unpack_from(order + "H", data, at)
    if not 0 < entries <= _MOST_ENTRIES:
        raise MalformedError("has a damaged TIFF header")
    end = at + 2 + 12 * entries
    if end > len(data):
        raise TruncatedError
    tags: dict[int, tuple[int, ...]] = {}
    for entry in range(at + 2, end, 12):
        tag, kind, count = struct.unpack_from(order + "HHL", data, entry)
        if tag in _READ and tag not in tags and kind in _CODES:
            tags[tag] = _values(data, order, entry, kind, count)
    return tags, end


def _values(data: bytes, order: str, entry: int, kind: int, count: int) -> tuple[int, ...]:
    if not 0 < count <= _MOST_PIECES:
        raise MalformedError("has a damaged TIFF header")
    code, unit = _CODES[kind]
    length = count * unit
    at = entry + 8 if length <= 4 else struct.unpack_from(order + "L", data, entry + 8)[0]
    if at + length > len(data):
        raise TruncatedError
    return struct.unpack_from(f"{order}{count}{code}", data, at)


def _one(tags: dict[int, tuple[int, ...]], tag: int, default: int | None = None) -> int:
    if tag in tags:
        return tags[tag][0]
    if default is None:
        raise MalformedError("has a damaged TIFF header")
    return default


def _check_pieces(data: bytes, tags: dict[int, tuple[int, ...]]) -> None:
    tiled = _TILE_WIDTH in tags
    offsets, lengths = (_TILE_OFFSETS, _TILE_BYTES) if tiled else (_STRIP_OFFSETS, _STRIP_BYTES)
    if tiled and max(_one(tags, _TILE_WIDTH), _one(tags, _TILE_HEIGHT)) > _LARGEST_TILE_SIDE:
        raise UnsupportedError("a TIFF with very large tiles", "save it as PNG or JPEG")
    if offsets not in tags or lengths not in tags or len(tags[offsets]) != len(tags[lengths]):
        raise MalformedError("has a damaged TIFF header")
    if any(at + length > len(data) for at, length in zip(tags[offsets], tags[lengths], strict=True)):
        raise TruncatedError
