"""The statement of how a picture came to be is written without touching the picture, and read back by others."""

from __future__ import annotations

import contextlib
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.values import ImageFormat, Size
from service.imaging.convert import Wish, finish
from service.imaging.decode import decode
from service.imaging.encode import encode_array
from service.imaging.formats.base import MalformedError
from service.imaging.inspect import ImageLimits, inspect, picture_only
from service.imaging.provenance import MARKED, DigitalSourceType, has_manifest, read_source_type, write_source_type

LIMITS = ImageLimits()
FORMATS = sorted(MARKED)


@pytest.mark.parametrize("found", FORMATS)
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("source_type", list(DigitalSourceType))
def test_what_is_written_is_read_and_the_picture_stays(found, channels, source_type) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (21, 33, channels), np.uint8)
    data = encode_array(pixels, found).data
    marked = write_source_type(data, found, source_type)
    assert read_source_type(data, found) == ""
    assert read_source_type(marked, found) == source_type
    assert np.array_equal(decode(marked, limits=LIMITS).array(), decode(data, limits=LIMITS).array())
    facts = inspect(marked, limits=LIMITS)
    assert (facts.format, facts.size, facts.has_alpha) == (found, Size(33, 21), inspect(data, limits=LIMITS).has_alpha)


@pytest.mark.parametrize("found", FORMATS)
def test_saying_it_again_changes_nothing_and_saying_otherwise_replaces_it(picture, file, found) -> None:
    data = file(picture(33, 21), found.value.upper())
    marked = write_source_type(data, found, DigitalSourceType.GENERATED)
    assert write_source_type(marked, found, DigitalSourceType.GENERATED) is marked
    other = write_source_type(marked, found, DigitalSourceType.ENHANCED)
    assert read_source_type(other, found) == "algorithmicallyEnhanced"
    assert other.count(b"DigitalSourceType=") == 1
    assert write_source_type(other, found, DigitalSourceType.GENERATED) == marked


@pytest.mark.parametrize("found", FORMATS)
def test_it_goes_with_other_metadata_where_that_is_cut_out(picture, file, found) -> None:
    data = file(picture(33, 21), found.value.upper())
    marked = write_source_type(data, found, DigitalSourceType.GENERATED)
    assert read_source_type(picture_only(marked, found), found) == ""


def test_the_segments_of_jfif_and_exif_stay_first(picture, file) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    for options in ({}, {"exif": exif}):
        marked = write_source_type(
            file(picture(33, 21), "JPEG", **options), ImageFormat.JPEG, DigitalSourceType.GENERATED
        )
        assert marked[2:4] == b"\xff\xe0"
        assert inspect(marked, limits=LIMITS).orientation == (6 if options else 1)


@pytest.mark.parametrize("written", ["element", "other prefix", "no vocabulary"])
def test_other_ways_to_write_it_are_read(picture, file, written) -> None:
    vocabulary = "" if written == "no vocabulary" else "http://cv.iptc.org/newscodes/digitalsourcetype/"
    packet = {
        "element": f"<Iptc4xmpExt:DigitalSourceType>{vocabulary}digitalArt</Iptc4xmpExt:DigitalSourceType>",
        "other prefix": f"<e:DigitalSourceType xml:lang='x'>\n {vocabulary}digitalArt</e:DigitalSourceType>",
        "no vocabulary": "Iptc4xmpExt:DigitalSourceType = 'digitalArt'",
    }[written]
    data = file(picture(9, 9), "JPEG", xmp=packet.encode())
    assert read_source_type(data, ImageFormat.JPEG) == "digitalArt"


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed (apt-get install exiftool)")
@pytest.mark.parametrize("found", FORMATS)
def test_exiftool_reads_it(picture, file, found, tmp_path: Path) -> None:
    path = tmp_path / f"picture.{found.value}"
    data = file(picture(33, 21), found.value.upper())
    path.write_bytes(write_source_type(data, found, DigitalSourceType.COMPOSITE))
    command = ["exiftool", "-validate", "-warning", "-error", "-n", "-s3", "-XMP-iptcExt:DigitalSourceType", str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert any(line.endswith("/compositeWithTrainedAlgorithmicMedia") for line in told)
    assert not [line for line in told if "rror" in line or "Warning" in line]


JUMBF = struct.pack(">L4sL4s", 40, b"jumb", 32, b"jumd") + b"c2pa" + bytes(20)


def with_manifest(data: bytes, found: ImageFormat, body: bytes) -> bytes:
    if found is ImageFormat.PNG:
        return data[:33] + struct.pack(">L", len(body)) + b"caBX" + body + bytes(4) + data[33:]
    if found is ImageFormat.JPEG:
        segment = b"JP\0\1\0\0\0\1" + body
        return data[:2] + b"\xff\xeb" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    added = b"C2PA" + struct.pack("<L", len(body)) + body
    return b"RIFF" + struct.pack("<L", len(data) - 8 + len(added)) + data[8:] + added


@pytest.mark.parametrize("found", FORMATS)
def test_a_manifest_is_found_by_structure_and_not_by_its_letters(picture, file, found) -> None:
    data = file(picture(33, 21), found.value.upper())
    assert has_manifest(with_manifest(data, found, JUMBF), found)
    assert not has_manifest(data, found)
    assert not has_manifest(with_manifest(data, found, b"c2pa jumb jumd caBX C2PA".ljust(40)), found)
    assert not has_manifest(data + JUMBF, found)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FORMATS), st.data())
def test_damaged_files_are_refused_or_marked_and_nothing_else(picture, file, found, data) -> None:
    whole = bytearray(file(picture(33, 21), found.value.upper()))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(1, len(whole)))])
    has_manifest(cut, found)
    with contextlib.suppress(MalformedError):
        assert isinstance(write_source_type(cut, found, DigitalSourceType.GENERATED), bytes)


def test_formats_that_carry_none_are_a_mistake(picture, file) -> None:
    with pytest.raises(ValueError, match="not marked"):
        write_source_type(file(picture(9, 9), "GIF"), ImageFormat.GIF, DigitalSourceType.GENERATED)


def test_a_result_that_passes_keeps_its_size(picture, file) -> None:
    data = finish(file(picture(33, 21), "PNG"), Wish(None, ImageFormat.WEBP), limits=LIMITS).data
    assert inspect(write_source_type(data, ImageFormat.WEBP, DigitalSourceType.ENHANCED), limits=LIMITS).size == Size(
        33, 21
    )
