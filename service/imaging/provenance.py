"""Saying in a file, machine-readably, how its picture came to be; and seeing what a file already says.

The statement is XMP's ``Iptc4xmpExt:DigitalSourceType`` (IPTC Photo Metadata Standard), one of the terms of the IPTC's
NewsCodes. C2PA manifests are detected here by their place in the file; they are read and written by
``provenance_c2pa``.
"""

from __future__ import annotations

import re
import struct
from enum import StrEnum

from isal.isal_zlib import crc32

from service.core.values import ImageFormat
from service.imaging.formats import jpeg, png, webp
from service.imaging.formats.base import MalformedError


class DigitalSourceType(StrEnum):
    """The origin of a picture: terms of http://cv.iptc.org/newscodes/digitalsourcetype/."""

    GENERATED = "trainedAlgorithmicMedia"
    COMPOSITE = "compositeWithTrainedAlgorithmicMedia"
    ENHANCED = "algorithmicallyEnhanced"


MARKED = frozenset((ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP))
"""The formats that can carry the statement here."""

_VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    ' Iptc4xmpExt:DigitalSourceType="{}"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
_PNG_KEYWORD = b"XML:com.adobe.xmp\0"
_JPEG_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_WEBP_XMP_FLAG, _WEBP_ALPHA_FLAG = 0x04, 0x10
# As an attribute or an element, by whatever prefix; XMP packets are read no further than this.
_stated = re.compile(
    rb"DigitalSourceType\s*(?:=\s*[\"']|(?:\s[^>]*)?>\s*)(?:" + re.escape(_VOCABULARY.encode()) + rb")?([A-Za-z]{3,64})"
)
_LARGEST_PACKET = 1 << 20


def read_source_type(data: bytes, found: ImageFormat) -> str:
    """The term that a file's XMP states, whatever it is; empty where it states none.

    Raises:
        MalformedError: The file's structure is damaged.
    """
    packet = _packet(data, found)
    stated = _stated.search(packet[:_LARGEST_PACKET])
    return stated.group(1).decode("ascii") if stated else ""


def write_source_type(data: bytes, found: ImageFormat, source_type: DigitalSourceType) -> bytes:
    """The file with the statement, as its only XMP; the very same bytes where it says just that already.

    The encoded picture is not touched.

    Args:
        found: One of ``MARKED``.

    Raises:
        MalformedError: The file's structure is damaged.
        ValueError: The format cannot carry it here (a fault of the calling code).
    """
    if read_source_type(data, found) == source_type:
        return data
    packet = _PACKET.format(_VOCABULARY + source_type).encode()
    match found:
        case ImageFormat.PNG:
            return _with_png_packet(data, packet)
        case ImageFormat.JPEG:
            return _with_jpeg_packet(data, packet)
        case ImageFormat.WEBP:
            return _with_webp_packet(data, packet)
        case _:
            raise ValueError(f"{found} files are not marked here")


def has_manifest(data: bytes, found: ImageFormat) -> bool:
    """Whether a C2PA manifest is embedded, by the file's structure; it is not validated. False for damaged files."""
    try:
        match found:
            case ImageFormat.PNG:
                return png.has_manifest(data)
            case ImageFormat.JPEG:
                return jpeg.has_manifest(data)
            case ImageFormat.WEBP:
                return webp.has_manifest(data)
            case _:
                return False
    except MalformedError:
        return False


def _packet(data: bytes, found: ImageFormat) -> bytes:
    """The file's XMP, uncompressed; empty where it has none (or, in PNG, a compressed one)."""
    match found:
        case ImageFormat.PNG:
            for kind, start, end in png.chunks(data):
                if kind == b"iTXt" and data[start:end].startswith(_PNG_KEYWORD + b"\0\0"):
                    return data[start:end].split(b"\0", 5)[-1]
        case ImageFormat.JPEG:
            for marker, start, end in jpeg.segments(data):
                if marker == jpeg.EXIF and data[start + 4 : end].startswith(_JPEG_HEADER):
                    return data[start + 4 + len(_JPEG_HEADER) : end]
        case ImageFormat.WEBP:
            for kind, start, end in webp.chunks(data):
                if kind == b"XMP ":
                    return data[start:end]
        case _:
            pass
    return b""


def _with_png_packet(data: bytes, packet: bytes) -> bytes:
    kept = [data[:8]]
    body = _PNG_KEYWORD + b"\0\0\0\0" + packet
    text = struct.pack(">L", len(body)) + b"iTXt" + body + crc32(b"iTXt" + body).to_bytes(4, "big")
    for kind, start, end in png.chunks(data):
        if not (kind == b"iTXt" and data[start:end].startswith(_PNG_KEYWORD)):
            kept.append(data[start - 8 : end + 4])
        if kind == b"IHDR":
            kept.append(text)
    return b"".join(kept)


def _with_jpeg_packet(data: bytes, packet: bytes) -> bytes:
    """After JFIF's segment, which has to be the first, and after EXIF's."""
    body = _JPEG_HEADER + packet
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    kept, placed = [data[:2]], False
    for marker, start, end in jpeg.segments(data):
        is_xmp = marker == jpeg.EXIF and data[start + 4 : end].startswith(_JPEG_HEADER)
        if not placed and (is_xmp or marker not in (jpeg.JFIF, jpeg.EXIF)):
            kept.append(segment)
            placed = True
        if not is_xmp:
            kept.append(data[start:end])
    return b"".join(kept)


def _with_webp_packet(data: bytes, packet: bytes) -> bytes:
    """XMP needs the extended format: a simple file gets the chunk that says so."""
    header = webp.read_header(data)
    kept, flags = [], _WEBP_XMP_FLAG | (_WEBP_ALPHA_FLAG if header.has_alpha else 0)
    for kind, start, end in webp.chunks(data):
        if kind == b"VP8X":
            flags |= data[start]
        elif kind != b"XMP ":
            kept.append(data[start - 8 : end] + bytes((end - start) & 1))
    size = header.stored_size
    extended = (
        bytes((flags, 0, 0, 0)) + (size.width - 1).to_bytes(3, "little") + (size.height - 1).to_bytes(3, "little")
    )
    pieces = [_riff(b"VP8X", extended), *kept, _riff(b"XMP ", packet)]
    body = b"WEBP" + b"".join(pieces)
    return b"RIFF" + struct.pack("<L", len(body)) + body


def _riff(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<L", len(body)) + body + bytes(len(body) & 1)
