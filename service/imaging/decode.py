"""From hostile bytes to upright sRGB pixels, or to an error that says what is wrong with them."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pi_heif
import pyvips
from PIL import Image

from service.core.errors import GatewayError, invalid
from service.core.values import ImageFormat
from service.imaging.colour import coded_profile, png_profile
from service.imaging.formats import bmp, jpeg, png, tiff
from service.imaging.formats.base import Extract
from service.imaging.inspect import (
    EXTRACTED,
    SMALLER_JPEGS,
    ImageFacts,
    ImageLimits,
    extract,
    inspect,
    webp_scale,
)
from service.imaging.picture import Picture, Source, VipsImage, from_memory

# ``inspect`` has checked the size against our own limits before Pillow sees a byte; Pillow's check would
# only add warnings, which are process-wide state.
Image.MAX_IMAGE_PIXELS = None
# Pillow logs every chunk it reads at DEBUG, text included; libvips' messages quote files too.
logging.getLogger("PIL").setLevel(logging.INFO)
logging.getLogger("pyvips").setLevel(logging.CRITICAL)
# Requests are worked on side by side already.
pi_heif.options.DECODE_THREADS = 1

_HEIC_REMEDY: Final = "save it as JPEG or PNG and send that (on an iPhone: Settings, Camera, Formats, Most Compatible)"

Opened = tuple[VipsImage, bytes | None]
# As many times smaller as any decoder offers, where nothing but the completeness of the data matters.
_CHEAPEST: Final = 8.0


def decode(data: bytes, *, limits: ImageLimits) -> Picture:
    """The (first) picture of a file, upright and in sRGB, decoded when its pixels are asked for.

    Decoders are given the picture's own data only: metadata, further frames and trailing bytes are removed before, so
    that no text chunk, EXIF block or thumbnail is ever parsed by them.

    Args:
        data: The file.
        limits: What ``inspect`` refuses unopened.

    Raises:
        GatewayError: INVALID_REQUEST ``invalid_image`` where the header or the structure is damaged. Damage further
            on is found, with the same error, when the pixels are asked for.
    """
    facts = inspect(data, limits=limits)
    extracted = extract(data, facts.format) if facts.format in EXTRACTED else Extract(data)
    picture = extracted.data

    def examine() -> None:
        if _holds_all_pixels(picture, facts) is False:
            raise _truncated()

    def opened(shrink: float, strict: bool) -> Opened:
        if strict and not extracted.complete:
            examine()
        image, profile = _OPENERS[facts.format](picture, facts, shrink, strict)
        stored = facts.stored_size
        if not (image.width <= stored.width and image.height <= stored.height) or (
            shrink < 2 and (image.width, image.height) != (stored.width, stored.height)
        ):
            raise invalid("image", "The image is damaged: its data contradicts its header.")
        return image, profile

    forgiving = facts.format is ImageFormat.JPEG
    return Picture.of(Source(facts.stored_size, facts.has_alpha, facts.orientation, opened, examine, forgiving))


def check_pixels(picture: bytes, facts: ImageFacts) -> None:
    """Makes sure that a file which is passed on undecoded holds all of its pixels, at the least expense.

    Structure does not tell: the data inside of sound chunks and segments may end early.

    Args:
        picture: A file as ``picture_only`` gives it.

    Raises:
        GatewayError: INVALID_REQUEST ``invalid_image`` where pixels are missing or damaged.
    """
    match _holds_all_pixels(picture, facts):
        case True:
            return
        case False:
            raise _truncated()
    source = Source(
        facts.stored_size,
        facts.has_alpha,
        1,
        lambda _, strict: _OPENERS[facts.format](picture, facts, _CHEAPEST, strict),
        forgiving=facts.format is ImageFormat.JPEG,
    )
    Picture.of(source).check()


def _holds_all_pixels(picture: bytes, facts: ImageFacts) -> bool | None:
    """Whether the data goes on to the last pixel; None where only decoding tells."""
    match facts.format:
        case ImageFormat.PNG:
            return png.holds_all_pixels(picture)
        case ImageFormat.JPEG:
            return jpeg.holds_all_pixels(picture, facts.mode)
        case _:
            return None


def _truncated() -> GatewayError:
    return invalid("image", "The image is truncated: its data ends before the image is complete.")


def flatten(picture: Picture) -> Picture:
    """The picture on a white ground, without alpha: the very same one where it has none."""
    return picture.flattened()


def _flags(strict: bool) -> dict[str, str]:
    return {"access": "sequential", "fail_on": "warning" if strict else "none"}


def _source(data: bytes) -> VipsImage:
    return pyvips.Source.new_from_memory(data)


def _embedded_profile(image: VipsImage) -> bytes | None:
    field = "icc-profile-data"
    return bytes(image.get(field)) if image.get_typeof(field) else None


def _open_png(data: bytes, facts: ImageFacts, shrink: float, strict: bool) -> Opened:  # noqa: ARG001
    image = pyvips.Image.pngload_source(_source(data), **_flags(strict))
    return image, png_profile(png.colour_chunks(data), facts.mode in ("1", "L", "LA"))


def _open_jpeg(data: bytes, facts: ImageFacts, shrink: float, strict: bool) -> Opened:  # noqa: ARG001
    factor = next((each for each in SMALLER_JPEGS if each <= shrink), 1)
    image = pyvips.Image.jpegload_source(_source(data), shrink=factor, **_flags(strict))
    return image, _embedded_profile(image)


def _open_webp(data: bytes, facts: ImageFacts, shrink: float, strict: bool) -> Opened:  # noqa: ARG001
    image = pyvips.Image.webpload_source(_source(data), scale=webp_scale(shrink), **_flags(strict))
    return image, _embedded_profile(image)


def _open_avif(data: bytes, facts: ImageFacts, shrink: float, strict: bool) -> Opened:  # noqa: ARG001
    image = pyvips.Image.heifload_source(_source(data), **_flags(strict))
    if image.format == "ushort":
        # 10 or 12 bits are in the upper ones; libvips hands them out as they are, or scaled.
        image = image.copy(interpretation="rgb16")
    return image, _embedded_profile(image)


class _Lent(np.ndarray[Any, Any]):
    """Pixels in another object's memory, which is freed with that object: its own view of it does not keep it."""

    owner: object = None

    def __array_finalize__(self, array: object) -> None:
        self.owner = getattr(array, "owner", None)


def _open_heic(data: bytes, facts: ImageFacts, shrink: float, strict: bool) -> Opened:  # noqa: ARG001
    try:
        file = pi_heif.open_heif(data, convert_hdr_to_8bit=True)
        pixels = np.asarray(file).view(_Lent)
        pixels.owner = file
    except (ValueError, EOFError, RuntimeError, OSError) as error:
        raise invalid("image", f"The image is a HEIC file that cannot be decoded; {_HEIC_REMEDY}.") from error
    profile = file.info.get("icc_profile")
    if not profile:
        stated = file.info.get("nclx_profile") or {}
        profile = coded_profile(int(stated.get("color_primaries", 2)), int(stated.get("transfer_characteristics", 2)))
    image = from_memory(pixels if pixels.ndim == 3 else pixels[..., None])
    return (image.unpremultiply() if file.premultiplied_alpha else image), profile


def _open_tiff(data: bytes, facts: ImageFacts, shrink: float, strict: bool) -> Opened:  # noqa: ARG001
    page = tiff.first_page(data)
    image = pyvips.Image.tiffload_source(_source(page), page=0, n=1, **_flags(strict))
    # A source does not keep its bytes, and an image reads them later: a copy would be freed before.
    image._references.append(page)
    return image, _embedded_profile(image)


def _open_bmp(data: bytes, facts: ImageFacts, shrink: float, strict: bool) -> Opened:
    rows = bmp.plain_rows(data)
    if rows is None:
        return _open_with_pillow(data, facts, shrink, strict)
    size = facts.stored_size
    stored = memoryview(data)[rows.start : rows.start + rows.stride * size.height]
    image = pyvips.Image.new_from_memory(stored, rows.stride, size.height, 1, "uchar")
    image = image.crop(0, 0, size.width * rows.channels, size.height).bandfold(factor=rows.channels)
    image = image.flipver() if rows.upward else image
    image = image.extract_band(2).bandjoin([image.extract_band(1), image.extract_band(0)])
    return image.copy(interpretation="srgb"), None


def _open_with_pillow(data: bytes, facts: ImageFacts, shrink: float, strict: bool) -> Opened:  # noqa: ARG001
    """A GIF or BMP: an index into a palette for each pixel, or its colour."""
    image = Image.open(io.BytesIO(data), formats=(facts.format.value.upper(),))
    transparent = image.info.get("transparency")
    image.load()
    if image.mode not in ("P", "L", "1"):
        mode = "RGBA" if facts.has_alpha else "RGB"
        return from_memory(np.asarray(image if image.mode == mode else image.convert(mode))), None
    palette = _palette(image, transparent if facts.has_alpha else None)
    indexes = np.asarray(image if image.mode != "1" else image.convert("L"))
    del image
    return from_memory(indexes[..., None]).maplut(from_memory(palette)).copy(interpretation="srgb"), None


def _palette(image: Image.Image, transparent: object) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """Of shape (1, 256, 3 or 4): the colour of each index; black for those beyond the palette."""
    if image.mode == "P":
        stated = np.array((image.getpalette("RGB") or [])[:768], np.uint8).reshape(-1, 3)
    else:
        stated = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    table = np.zeros((1, 256, 3 if transparent is None else 4), np.uint8)
    table[0, : len(stated), :3] = stated
    if isinstance(transparent, int):
        table[0, :, 3] = 255
        table[0, transparent, 3] = 0
    return table


_OPENERS: Final[dict[ImageFormat, Callable[[bytes, ImageFacts, float, bool], Opened]]] = {
    ImageFormat.PNG: _open_png,
    ImageFormat.JPEG: _open_jpeg,
    ImageFormat.WEBP: _open_webp,
    ImageFormat.GIF: _open_with_pillow,
    ImageFormat.HEIC: _open_heic,
    ImageFormat.AVIF: _open_avif,
    ImageFormat.TIFF: _open_tiff,
    ImageFormat.BMP: _open_bmp,
}
