"""JPEG (ITU-T T.81, JFIF, EXIF): segments behind 0xFF markers, with entropy-coded data after each SOS."""

from __future__ import annotations

import re
from collections.abc import Iterator

import simplejpeg

from service.core.values import Size
from service.imaging.formats.base import (
    BYTE_ORDERS,
    Extract,
    Header,
    MalformedError,
    TruncatedError,
    UnsupportedError,
    exif_orientation,
    join_kept,
)

SIGNATURE = b"\xff\xd8\xff"
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Baseline, extended and progressive, coded after Huffman or arithmetically (T.81, table B.1).
_DECODED_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))
_PROGRESSIVE = frozenset((0xC2, 0xCA))
_START, _SCAN, _END, _COMMENT = 0xD8, 0xDA, 0xD9, 0xFE
JFIF, EXIF, _ICC, _PROVENANCE, _ADOBE = 0xE0, 0xE1, 0xE2, 0xEB, 0xEE
# Markers without a length: TEM and the restart markers. Outside of a scan they mean nothing.
_BARE = frozenset((0x01, *range(0xD0, 0xD8)))
_END_MARKER = b"\xff\xd9"
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
# Every scan of a progressive JPEG is decoded over the whole picture, and a scan may be a few bytes: a small file could
# keep a processor busy for hours. Encoders make about ten.
_MOST_SCANS = 100
# In entropy-coded data 0xFF is followed by a stuffed zero or a restart marker; anything else is a real marker.
_marker_after_scan = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Between segments, what is no marker is skipped, as libjpeg does (jdmarker.c, next_marker): stray bytes, stuffed zeros.
_next_marker = re.compile(rb"\xff[^\x00\xff]")


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields (marker, start, end) of each segment after SOI, entropy-coded data included with its SOS.

    The last is the end marker, empty where the file has none. ``start`` is where the marker is: fill bytes and
    whatever else lies between segments belong to none of them.
    """
    at, end = 2, len(data)
    scanned = False
    while True:
        found = _next_marker.search(data, at)
        if found is None:
            if not scanned:
                raise TruncatedError
            yield _END, end, end
            return
        at = found.start()
        marker = data[at + 1]
        if marker == _END:
            yield marker, at, at + 2
            return
        if marker in _BARE:
            at += 2
            continue
        if marker == _START:
            raise MalformedError("is damaged: a JPEG marker is out of place")
        if at + 4 > end:
            raise TruncatedError
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        after = at + 2 + length
        if length < 2:
            raise MalformedError("is damaged: a JPEG segment has an impossible length")
        if after > end:
            raise TruncatedError
        yield marker, at, after
        at = after
        if marker == _SCAN:
            scanned = True
            found = _marker_after_scan.search(data, after)
            # Half of an end marker may be there.
            at = end - data.endswith(b"\xff") if found is None else found.start()
            yield 0, after, at


def read_header(data: bytes) -> Header:
    """Reads up to the first scan.

    Raises:
        MalformedError: The frame header is missing, contradictory or cut short.
        UnsupportedError: The picture has 12 bits a channel or is coded in a way that hardly anything decodes.
    """
    frame: Header | None = None
    exif: bytes | None = None
    for marker, start, after in segments(data):
        if marker in _FRAME_MARKERS:
            if frame is not None or after - start < 10:
                raise MalformedError("has a damaged JPEG header")
            frame = _frame(data, marker, start, after)
        elif marker == EXIF and data[start + 4 : start + 10] == b"Exif\0\0":
            # The first block counts. A segment holds 64 KB at most: larger blocks go on in the next one, which
            # then does not begin with a byte order.
            if exif is None:
                exif = data[start + 10 : after]
            elif data[start + 10 : start + 12] not in BYTE_ORDERS:
                exif += data[start + 10 : after]
        elif marker in (_SCAN, _END):
            break
    if frame is None:
        raise MalformedError("has a damaged JPEG header")
    orientation = 1 if exif is None else exif_orientation(memoryview(exif))
    return Header(
        frame.stored_size, frame.mode, frame.bits, False, False, orientation, working_bytes=frame.working_bytes
    )


def _frame(data: bytes, marker: int, start: int, after: int) -> Header:
    bits, channels = data[start + 4], data[start + 9]
    if bits in (12, 16):
        raise UnsupportedError(f"a JPEG with {bits} bits a channel", "save it with 8 bits a channel")
    if marker not in _DECODED_FRAMES:
        raise UnsupportedError("a lossless or hierarchical JPEG", "save it as baseline or progressive")
    height = int.from_bytes(data[start + 5 : start + 7], "big")
    width = int.from_bytes(data[start + 7 : start + 9], "big")
    mode = _MODES.get(channels, "")
    if not mode or bits != 8 or after - start < 10 + 3 * channels:
        raise MalformedError("has a damaged JPEG header")
    working = 0
    if marker in _PROGRESSIVE:
        # All coefficients are held, 2 bytes each, for as many samples as each component has.
        factors = [(each >> 4, each & 15) for each in data[start + 11 : start + 10 + 3 * channels : 3]]
        most = max(across for across, _ in factors) * max(down for _, down in factors)
        samples = sum(across * down for across, down in factors) / max(1, most)
        working = int(2 * samples * width * height)
    return Header(Size(width, height), mode, bits, has_alpha=False, animated=False, working_bytes=working)


def _kept(data: bytes, marker: int, start: int, after: int, keep_provenance: bool) -> tuple[int, int] | bytes | None:
    """The part of a segment that is kept."""
    body = start + 4
    if marker == JFIF:
        # Its presence decides about colours, over Adobe's marker too: it stays, without its thumbnail.
        if data[body : body + 5] != b"JFIF\0" or after - body < 14:
            return None
        return (start, after) if after - start == 18 else b"\xff\xe0\x00\x10" + data[body : body + 12] + b"\x00\x00"
    if marker == _ADOBE:
        if data[body : body + 5] != b"Adobe" or after - body < 12:
            return None
        return (start, after) if after - start == 16 else b"\xff\xee\x00\x0e" + data[body : body + 12]
    if marker == _ICC:
        return (start, after) if data[body : body + 12] == b"ICC_PROFILE\0" else None
    if marker == _PROVENANCE and keep_provenance:
        return start, after
    return None if marker == _COMMENT or 0xE1 <= marker <= 0xEF else (start, after)


def picture_only(data: bytes, *, keep_provenance: bool) -> Extract:
    """The file without anything but its picture.

    EXIF, XMP, comments, thumbnails and whatever follows the end marker (further pictures, videos) go, and so do
    stray bytes between segments; the ICC profile and the markers of JFIF and Adobe stay, since without them the
    colours would be wrong.

    Raises:
        MalformedError: The segments do not add up, there are far too many scans, or the file is cut short.
    """
    kept: list[tuple[int, int] | bytes] = [(0, 2)]
    scans = 0
    complete = True
    for marker, start, after in segments(data):
        scans += marker == _SCAN
        if scans > _MOST_SCANS:
            raise MalformedError(f"has more than {_MOST_SCANS} JPEG scans")
        if marker == _END and start == after:
            complete = False
            kept.append(_END_MARKER)
        elif (piece := _kept(data, marker, start, after, keep_provenance)) is not None:
            kept.append(piece)
    return Extract(join_kept(data, kept), complete)


def holds_all_pixels(data: bytes, mode: str) -> bool | None:
    """Whether the entropy-coded data goes on to the last block, found by reading all of it for an eighth of each side.

    libjpeg fills in what is missing and warns; libjpeg-turbo's own interface, unlike others, hands the warning out.

    Args:
        mode: The header's.

    Returns:
        None where the data cannot be read to its end for another reason.
    """
    try:
        simplejpeg.decode_jpeg(data, "CMYK" if mode == "CMYK" else "GRAY", min_factor=8, strict=True)
    except ValueError as error:
        said = str(error).lower()
        if "premature end" in said:
            return False
        # Of bytes that were skipped, or blocks that look odd: the picture is there.
        return True if "corrupt jpeg data" in said else None
    return True


def has_manifest(data: bytes) -> bool:
    """Whether a C2PA manifest is embedded: an APP11 segment with a JUMBF box of the C2PA type (C2PA 2.2, A.3)."""
    for marker, start, after in segments(data):
        if marker == _SCAN:
            return False
        # Common identifier "JP", box instance, packet sequence, then the superbox and its description box.
        if marker == _PROVENANCE and data[start + 4 : start + 6] == b"JP":
            box = data[start + 12 : min(after, start + 52)]
            if box[4:8] == b"jumb" and box[12:16] == b"jumd" and box[16:20] == b"c2pa":
                return True
    return False
