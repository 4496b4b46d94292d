"""JPEG (ITU-T T.81, JFIF, EXIF): segments behind 0xFF markers, with entropy-coded data after each SOS."""

from __future__ import annotations

import re
from collections.abc import Iterator

from service.core.values import Size
from service.imaging.formats.base import Header, MalformedError, TruncatedError, exif_orientation, join_kept

SIGNATURE = b"\xff\xd8\xff"
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _END, _COMMENT, _EXIF, _ICC, _PROVENANCE, _ADOBE = 0xDA, 0xD9, 0xFE, 0xE1, 0xE2, 0xEB, 0xEE
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
# Every scan of a progressive JPEG is decoded over the whole picture, and a scan may be a few bytes: a small file could
# keep a processor busy for hours. Encoders make about ten.
_MOST_SCANS = 100
# In entropy-coded data 0xFF is followed by a stuffed zero or a restart marker; anything else is a real marker.
_marker_after_scan = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields (marker, start, end) of each segment after SOI, entropy-coded data included with its SOS.

    The last is the end marker. ``start`` is where the marker is, after any fill bytes.
    """
    at, end = 2, len(data)
    while True:
        if at + 2 > end:
            raise TruncatedError
        if data[at] != 0xFF:
            raise MalformedError("is damaged: a JPEG marker is missing")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == _END:
            yield marker, at, at + 2
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            raise MalformedError("is damaged: a JPEG marker is out of place")
        if at + 4 > end:
            raise TruncatedError
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        after = at + 2 + length
        if length < 2:
            raise MalformedError("is damaged: a JPEG segment has an impossible length")
        if after > end:
            raise TruncatedError
        if marker == _SCAN:
            yield marker, at, after
            found = _marker_after_scan.search(data, after)
            if found is None:
                raise TruncatedError
            yield 0, after, found.start()
            at = found.start()
        else:
            yield marker, at, after
            at = after


def read_header(data: bytes) -> Header:
    """Reads up to the first scan.

    Raises:
        MalformedError: The frame header is missing, contradictory or cut short.
    """
    size: Size | None = None
    mode, bits, orientation = "", 8, 1
    for marker, start, after in _segments(data):
        if marker in _FRAME_MARKERS:
            if size is not None or after - start < 10:
                raise MalformedError("has a damaged JPEG header")
            bits = data[start + 4]
            height = int.from_bytes(data[start + 5 : start + 7], "big")
            width = int.from_bytes(data[start + 7 : start + 9], "big")
            size, mode = Size(width, height), _MODES.get(data[start + 9], "")
        elif marker == _EXIF and data[start + 4 : start + 10] == b"Exif\0\0":
            orientation = exif_orientation(memoryview(data)[start + 10 : after])
        elif marker in (_SCAN, _END):
            break
    if size is None or not mode:
        raise MalformedError("has a damaged JPEG header")
    return Header(size, mode, bits, has_alpha=False, animated=False, orientation=orientation)


def _is_picture(data: bytes, marker: int, start: int, after: int) -> bool:
    if marker == 0xE0:
        # Exactly 18 bytes is a JFIF header without a thumbnail.
        return data[start + 4 : start + 9] == b"JFIF\0" and after - start == 18
    if marker == _ICC:
        return data[start + 4 : start + 16] == b"ICC_PROFILE\0"
    if marker == _ADOBE:
        return data[start + 4 : start + 9] == b"Adobe"
    return marker != _COMMENT and not 0xE1 <= marker <= 0xEF


def picture_only(data: bytes, *, keep_provenance: bool) -> bytes:
    """The file without anything but its picture; ``data`` itself where nothing has to go.

    EXIF, XMP, comments, thumbnails and whatever follows the end marker (further pictures, videos) go;
    the ICC profile and Adobe's marker stay, since without them the colours would be wrong.

    Raises:
        MalformedError: The segments do not add up, there are far too many scans, or the file is cut short.
    """
    kept = [(0, 2)]
    scans = 0
    for marker, start, after in _segments(data):
        scans += marker == _SCAN
        if scans > _MOST_SCANS:
            raise MalformedError(f"has more than {_MOST_SCANS} JPEG scans")
        if _is_picture(data, marker, start, after) or (keep_provenance and marker == _PROVENANCE):
            kept.append((start, after))
    return join_kept(data, kept)
