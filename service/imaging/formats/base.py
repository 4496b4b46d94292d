"""What the readers of the four file formats have in common."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from service.core.values import Size

_ORIENTATION_TAG = 0x0112
_TIFF_SHORT = 3


class MalformedError(Exception):
    """The bytes break the rules of their format. The message completes the sentence "the image ..."."""


class TruncatedError(MalformedError):
    """The bytes end before the image does."""

    def __init__(self) -> None:
        super().__init__("is truncated: its data ends before the image is complete")


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself before any pixel is decoded.

    Attributes:
        stored_size: Width and height as stored, before any orientation is applied.
        mode: The channels as Pillow names them: ``1 L LA P RGB RGBA CMYK``.
        bits: Bits per channel as stored.
        has_alpha: Whether pixels may be transparent.
        animated: Whether there is more than one frame.
        orientation: The EXIF orientation, 1 (upright) to 8.
    """

    stored_size: Size
    mode: str
    bits: int
    has_alpha: bool
    animated: bool
    orientation: int = 1


def exif_orientation(tiff: memoryview) -> int:
    """The orientation in an EXIF block, 1 to 8; 1 where there is none or it makes no sense.

    Only the first directory is looked at (where TIFF 6.0 and EXIF 2.3 put tag 0x0112), entry by entry:
    no offset in the block is followed but the one to that directory, so a hostile block cannot loop.

    Args:
        tiff: The block from its byte order mark on, without the ``Exif\\0\\0`` that JPEG puts before it.
    """
    order = {b"II": "<", b"MM": ">"}.get(bytes(tiff[:2]))
    if order is None or len(tiff) < 8:
        return 1
    (directory,) = struct.unpack_from(order + "L", tiff, 4)
    if directory + 2 > len(tiff):
        return 1
    (entries,) = struct.unpack_from(order + "H", tiff, directory)
    first = directory + 2
    for at in range(first, min(first + 12 * entries, len(tiff) - 11), 12):
        tag, kind, _, value = struct.unpack_from(order + "HHLH", tiff, at)
        if tag == _ORIENTATION_TAG:
            return value if kind == _TIFF_SHORT and 1 <= value <= 8 else 1
    return 1


def join_kept(data: bytes, kept: list[tuple[int, int]]) -> bytes:
    """The spans of ``data`` that are kept, in order; ``data`` itself, not a copy, where that is all of it."""
    merged: list[tuple[int, int]] = []
    for start, end in kept:
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    if merged == [(0, len(data))]:
        return data
    view = memoryview(data)
    return b"".join(view[start:end] for start, end in merged)
