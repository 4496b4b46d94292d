"""The common parts of the file format readers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from service.core.values import Size

_ORIENTATION_TAG = 0x0112
_TIFF_SHORT, _TIFF_LONG = 3, 4
BYTE_ORDERS = {b"II": "<", b"MM": ">"}


class MalformedError(Exception):
    """The bytes break the rules of their format. The message completes the sentence "the image ..."."""


class TruncatedError(MalformedError):
    """The bytes end before the image does."""

    def __init__(self) -> None:
        super().__init__("is truncated: its data ends before the image is complete")


class UnsupportedError(MalformedError):
    """The file is sound, but of a kind that is not decoded here."""

    def __init__(self, kind: str, remedy: str) -> None:
        super().__init__(f"is of an unsupported kind: {kind}; {remedy}")


@dataclass(frozen=True, slots=True)
class Header:
    """The facts in a file's header, read before any pixel is decoded.

    Attributes:
        stored_size: Width and height as stored, before any orientation is applied.
        mode: The channels as Pillow names them: ``1 L LA P RGB RGBA CMYK``.
        bits: Bits per channel as stored.
        has_alpha: Whether pixels may be transparent.
        animated: Whether there is more than one frame or page.
        orientation: The EXIF orientation, 1 (upright) to 8.
        working_bytes: Memory in bytes that the decoder needs for the whole picture at once, besides a few rows and
            the pixels that it hands out.
        reducible_bytes: The part of the decoder's memory that shrinks with the picture where it is decoded smaller.
    """

    stored_size: Size
    mode: str
    bits: int
    has_alpha: bool
    animated: bool
    orientation: int = 1
    working_bytes: int = 0
    reducible_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Extract:
    """A file without anything but its picture.

    Attributes:
        data: The file; the very bytes that were given where nothing had to go.
        complete: Whether the end was marked as the format wants it. Where it was not, the mark has been added, and
            only decoding tells whether all pixels are there.
    """

    data: bytes
    complete: bool = True


def exif_orientation(tiff: memoryview) -> int:
    """The orientation in an EXIF block, 1 to 8; 1 where there is none or it makes no sense.

    Only the first directory is looked at (where TIFF 6.0 and EXIF 2.3 put tag 0x0112), entry by entry:
    no offset in the block is followed but the one to that directory, so a hostile block cannot loop. The value
    should be a SHORT; some writers store it as a LONG.

    Args:
        tiff: The block from its byte order mark on, without the ``Exif\\0\\0`` that JPEG puts before it.
    """
    order = BYTE_ORDERS.get(bytes(tiff[:2]))
    if order is None or len(tiff) < 8:
        return 1
    (directory,) = struct.unpack_from(order + "L", tiff, 4)
    if directory + 2 > len(tiff):
        return 1
    (entries,) = struct.unpack_from(order + "H", tiff, directory)
    first = directory + 2
    for at in range(first, min(first + 12 * entries, len(tiff) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, at)
        if tag == _ORIENTATION_TAG:
            if kind not in (_TIFF_SHORT, _TIFF_LONG):
                return 1
            (value,) = struct.unpack_from(order + ("H" if kind == _TIFF_SHORT else "L"), tiff, at + 8)
            return value if 1 <= value <= 8 else 1
    return 1


def join_kept(data: bytes, kept: Sequence[tuple[int, int] | bytes]) -> bytes:
    """The spans of ``data`` that are kept and the bytes that are put between them, in order.

    ``data`` itself, not a copy, where the spans are all of it.
    """
    merged: list[tuple[int, int] | bytes] = []
    for piece in kept:
        last = merged[-1] if merged else b""
        if isinstance(piece, tuple) and isinstance(last, tuple) and last[1] == piece[0]:
            merged[-1] = (last[0], piece[1])
        else:
            merged.append(piece)
    if merged == [(0, len(data))]:
        return data
    view = memoryview(data)
    return b"".join(view[piece[0] : piece[1]] if isinstance(piece, tuple) else piece for piece in merged)
