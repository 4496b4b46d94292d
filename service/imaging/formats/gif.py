"""GIF (87a, 89a): a logical screen, then frames and extensions made of blocks of up to 255 bytes."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from service.core.values import Size
from service.imaging.formats.base import Extract, Header, MalformedError, TruncatedError, join_kept

SIGNATURES = (b"GIF87a", b"GIF89a")
_FRAME, _EXTENSION, _TRAILER, _GRAPHIC_CONTROL = 0x2C, 0x21, 0x3B, 0xF9
_introducer = re.compile(rb"[,!;]")


@dataclass(frozen=True, slots=True)
class _FirstFrame:
    """The position of the first frame. ``control`` is the graphic control extension before it, or empty."""

    size: Size
    transparent: bool
    control: tuple[int, int]
    span: tuple[int, int]


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    """The position after a run of blocks and the empty block that ends it."""
    end = len(data)
    while at < end:
        length = data[at]
        if length == 0:
            return at + 1
        at += length + 1
    raise TruncatedError


def _screen_end(data: bytes) -> int:
    if len(data) < 13:
        raise TruncatedError
    return 13 + _palette_bytes(data[10])


def _first_frame(data: bytes) -> _FirstFrame:
    """Finds the first frame, extending the logical screen where the frame exceeds it."""
    width, height = struct.unpack_from("<HH", data, 6) if len(data) >= 10 else (0, 0)
    at = _screen_end(data)
    control, transparent = (0, 0), False
    while at + 2 <= len(data):
        introducer = data[at]
        if introducer == _EXTENSION:
            after = _after_blocks(data, at + 2)
            if data[at + 1] == _GRAPHIC_CONTROL and after - at == 8:
                control, transparent = (at, after), bool(data[at + 3] & 1)
            at = after
        elif introducer == _FRAME:
            if at + 11 > len(data):
                raise TruncatedError
            left, top, wide, high = struct.unpack_from("<HHHH", data, at + 1)
            after = _after_blocks(data, at + 10 + _palette_bytes(data[at + 9]) + 1)
            size = Size(max(width, left + wide), max(height, top + high))
            return _FirstFrame(size, transparent, control, (at, after))
        elif introducer == _TRAILER:
            raise MalformedError("holds no picture")
        else:
            # A stray byte, often a zero after an extension: GIF87a says to read on until a frame comes.
            at = _next_block(data, at)
    raise TruncatedError


def _next_block(data: bytes, at: int) -> int:
    """The position of the next byte that begins a frame or an extension, or ends the file."""
    found = _introducer.search(data, at)
    if found is None:
        raise TruncatedError
    return found.start()


def read_header(data: bytes) -> Header:
    """Reads to the end of the first frame, to see whether another follows.

    Raises:
        MalformedError: There is no first frame, or it is cut short.
    """
    first = _first_frame(data)
    at, end = first.span[1], len(data)
    while at + 2 <= end and data[at] not in (_FRAME, _TRAILER):
        at = _after_blocks(data, at + 2) if data[at] == _EXTENSION else at + 1
    animated = at < end and data[at] == _FRAME
    # Indexes into the palette are decoded as a whole, and held once more while they become an array.
    return Header(first.size, "P", 8, first.transparent, animated, working_bytes=first.size.pixels * 3 // 2)


def picture_only(data: bytes) -> Extract:
    """The file with its first frame alone: no comments, no application data, no stray bytes, no further frames.

    Raises:
        MalformedError: There is no first frame, or it is cut short.
    """
    first = _first_frame(data)
    spans = [(0, _screen_end(data)), first.control, first.span]
    trailer = first.span[1]
    if data[trailer : trailer + 1] == b";":
        return Extract(join_kept(data, [span for span in (*spans, (trailer, trailer + 1)) if span[0] < span[1]]))
    return Extract(join_kept(data, [*(span for span in spans if span[0] < span[1]), b";"]))
