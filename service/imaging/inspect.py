"""Inspection of an uploaded file by its header alone: no pixel is decoded, nothing is copied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.core.errors import invalid
from service.core.values import ImageFormat, Size
from service.imaging.formats import bmp, gif, heif, jpeg, png, tiff, webp
from service.imaging.formats.base import Extract, Header, MalformedError

ACCEPTED = "PNG, JPEG, WebP, GIF, HEIC, AVIF, TIFF and BMP"

_READ_HEADER: dict[ImageFormat, Callable[[bytes], Header]] = {
    ImageFormat.PNG: png.read_header,
    ImageFormat.JPEG: jpeg.read_header,
    ImageFormat.WEBP: webp.read_header,
    ImageFormat.GIF: gif.read_header,
    ImageFormat.HEIC: heif.read_header,
    ImageFormat.AVIF: heif.read_header,
    ImageFormat.TIFF: tiff.read_header,
    ImageFormat.BMP: bmp.read_header,
}

EXTRACTED = frozenset((ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP, ImageFormat.GIF))
"""The formats of which ``extract`` cuts everything but the picture. Files of the others are always re-encoded."""

# Formats that are recognised for the sake of a helpful message only: (name, offset, signature).
_OTHERS = (
    ("HEIF", 4, b"ftypmif1"),
    ("BigTIFF", 0, b"II+\x00"),
    ("BigTIFF", 0, b"MM\x00+"),
    ("JPEG XL", 0, b"\xff\x0a"),
    ("JPEG XL", 4, b"JXL "),
    ("JPEG 2000", 4, b"jP  "),
    ("ICO", 0, b"\x00\x00\x01\x00"),
    ("PSD", 0, b"8BPS"),
    ("PDF", 0, b"%PDF"),
    ("SVG", 0, b"<svg"),
    ("XML or SVG", 0, b"<?xml"),
)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The size limits of an image; a larger one is refused unopened. In pixels, as displayed."""

    max_pixels: int = 50_000_000
    max_side: int = 16_384


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """The facts in a file's header.

    Attributes:
        format: Sniffed from the bytes.
        size: As displayed, that is with any EXIF orientation applied.
        mode: The stored channels as Pillow names them: ``1 L LA P RGB RGBA CMYK``.
        bits: Bits per channel as stored.
        has_alpha: Whether pixels may be transparent.
        animated: Whether there is more than one frame.
        orientation: The EXIF orientation, 1 (upright) to 8.
        working_bytes: Memory in bytes that the decoder needs for the whole picture at once, besides a few rows and
            the pixels that it hands out.
        reducible_bytes: The part of the decoder's memory that shrinks with the picture where it is decoded smaller.
    """

    format: ImageFormat
    size: Size
    mode: str
    bits: int
    has_alpha: bool
    animated: bool
    orientation: int
    working_bytes: int = 0
    reducible_bytes: int = 0

    @property
    def stored_size(self) -> Size:
        """Width and height as stored: orientations 5 to 8 swap the sides."""
        return self.size if self.orientation < 5 else Size(self.size.height, self.size.width)


def sniff(data: bytes) -> ImageFormat | None:
    """The format that the first bytes are a signature of, among those accepted; None if of none."""
    if data.startswith(png.SIGNATURE):
        return ImageFormat.PNG
    if data.startswith(jpeg.SIGNATURE):
        return ImageFormat.JPEG
    if webp.is_webp(data):
        return ImageFormat.WEBP
    if data.startswith(gif.SIGNATURES):
        return ImageFormat.GIF
    if heif.is_avif(data):
        return ImageFormat.AVIF
    if heif.is_heic(data):
        return ImageFormat.HEIC
    if data.startswith(tiff.SIGNATURES):
        return ImageFormat.TIFF
    return ImageFormat.BMP if bmp.is_bmp(data) else None


def inspect(data: bytes, *, limits: ImageLimits) -> ImageFacts:
    """Reads the header of an image file and checks its size, before anything is decoded.

    A file that passes may still turn out to be damaged further on; ``decode`` tells.

    Raises:
        GatewayError: INVALID_REQUEST ``invalid_image`` for anything but a file of an accepted format with a sound
            header and a size within the limits.
    """
    found = sniff(data)
    if found is None:
        raise invalid("image", _not_accepted(data))
    try:
        header = _READ_HEADER[found](data)
    except MalformedError as error:
        raise invalid("image", f"The image {error}.") from None
    stored = header.stored_size
    _check_size(stored, limits)
    size = stored if header.orientation < 5 else Size(stored.height, stored.width)
    return ImageFacts(
        found,
        size,
        header.mode,
        header.bits,
        header.has_alpha,
        header.animated,
        header.orientation,
        header.working_bytes,
        header.reducible_bytes,
    )


def _check_size(size: Size, limits: ImageLimits) -> None:
    if size.width < 1 or size.height < 1:
        raise invalid("image", f"The image is empty: its size is {size} pixels.")
    if size.width > limits.max_side or size.height > limits.max_side:
        raise invalid("image", f"The image is {size} pixels; a side may have at most {limits.max_side}.")
    if size.pixels > limits.max_pixels:
        raise invalid(
            "image",
            f"The image has too many pixels: {size} is {size.pixels}, and at most {limits.max_pixels} are allowed.",
        )


def _not_accepted(data: bytes) -> str:
    if not data:
        return "The image is empty."
    start = data[:64]
    for name, offset, signature in _OTHERS:
        if start.startswith(signature, offset):
            return f"The image is a {name} file; accepted are {ACCEPTED}."
    return f"The image is not an image file of a known format; accepted are {ACCEPTED}."


def picture_only(data: bytes, found: ImageFormat, *, keep_provenance: bool = False) -> bytes:
    """The bytes that ``extract`` gives; ``data`` as it is for a format of which nothing can be cut out."""
    return extract(data, found, keep_provenance=keep_provenance).data if found in EXTRACTED else data


def extract(data: bytes, found: ImageFormat, *, keep_provenance: bool = False) -> Extract:
    """The same picture in the same encoding without metadata, trailing data or further frames.

    Nothing is decoded, so nothing is lost; ``data`` itself is returned where nothing has to go. The file is
    walked to its end, so what is returned is structurally complete (for PNG, checksums included); where the mark of
    the end was missing it is added, and ``complete`` is False. Colour profiles stay. The EXIF orientation does not:
    it must be 1, or the picture must be re-encoded instead. Further frames of an animated WebP stay.

    Args:
        found: One of ``EXTRACTED``.
        keep_provenance: Whether to leave a C2PA manifest (who or what made the picture) in place.

    Raises:
        GatewayError: INVALID_REQUEST ``invalid_image`` when the file is damaged or truncated.
    """
    try:
        match found:
            case ImageFormat.PNG:
                return png.picture_only(data, keep_provenance=keep_provenance)
            case ImageFormat.JPEG:
                return jpeg.picture_only(data, keep_provenance=keep_provenance)
            case ImageFormat.WEBP:
                return webp.picture_only(data, keep_provenance=keep_provenance)
            case ImageFormat.GIF:
                return gif.picture_only(data)
            case _:
                raise ValueError(f"nothing is cut out of {found} files")
    except MalformedError as error:
        raise invalid("image", f"The image {error}.") from None


SMALLER_JPEGS = (8, 4, 2)
"""libjpeg decodes to a half, a quarter or an eighth of each side, and leaves out what that does not take."""


def webp_scale(shrink: float) -> float:
    """The share of each side at which libwebp decodes a picture that is shown ``shrink`` times smaller.

    It is decoded at twice the shown size, so that a better filter than libwebp's does the rest.
    """
    return 1.0 if shrink < 4 else 2.0 / int(shrink)


# Measured by bench/imaging_memory.py: tables and buffers of the decoder, resampler and encoder; and the rows that are
# held at a time, fewer where all pixels come out than where they are reduced on the way.
_FIXED_BYTES = 6_000_000
_ROWS_WHOLE, _ROWS_REDUCED = 600, 1_600
_CHANNELS = {"1": 1, "L": 1, "LA": 2, "P": 3, "RGB": 3, "RGBA": 4, "CMYK": 4}


def decode_cost(facts: ImageFacts, encoded_bytes: int, *, output: Size | None = None) -> int:
    """The most bytes of memory that decoding a file takes at one moment, from its header alone.

    The file itself; what its decoder holds of the whole picture; the rows in hand; and the pixels that come out, three
    bytes each, four with alpha. ``python -m bench.imaging_memory`` checks it against measured peaks of every format.

    Args:
        encoded_bytes: The length of the file.
        output: The size to which the picture is reduced while it is decoded; None: all of its pixels come out.
    """
    stored = facts.stored_size
    scale = 1.0 if output is None else _decoded_scale(facts, output)
    rows = min(_ROWS_WHOLE if output is None else _ROWS_REDUCED, stored.height * scale)
    in_hand = rows * stored.width * scale * _CHANNELS[facts.mode] * (2 if facts.bits > 8 else 1)
    pixels = (output or facts.size).pixels * (4 if facts.has_alpha else 3)
    decoder = facts.working_bytes + facts.reducible_bytes * scale * scale
    return round(encoded_bytes + decoder + in_hand + pixels + _FIXED_BYTES)


def _decoded_scale(facts: ImageFacts, output: Size) -> float:
    """The share of each side at which a file is decoded if a smaller picture is wanted."""
    shrink = max(1.0, min(facts.size.width / output.width, facts.size.height / output.height))
    if facts.format is ImageFormat.JPEG:
        return 1 / next((each for each in SMALLER_JPEGS if each <= shrink), 1)
    return webp_scale(shrink) if facts.format is ImageFormat.WEBP else 1.0
