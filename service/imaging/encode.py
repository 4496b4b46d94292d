"""From pixels to files that hold nothing but the picture."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.core.values import EncodedImage, ImageFormat, Size
from service.imaging.formats import png
from service.imaging.picture import Picture, VipsImage, strips

DEFAULT_QUALITY = 92
# Of libwebp's 0 (fast) to 6 (small): at quality 90 of a megapixel, 1 takes 50 ms and 4 takes 125 ms for
# files of the same size within a per cent.
_WEBP_EFFORT = 1
# JPEG keeps colour at full resolution from here on.
_FULL_COLOUR_QUALITY = 90
_MOST_PERCENT = 100
_PNG_LEVELS = 9


def encode(
    picture: Picture, output_format: ImageFormat, *, quality: int = DEFAULT_QUALITY, compression: int | None = None
) -> EncodedImage:
    """Encodes a picture without any metadata: no EXIF, colour profile, text or thumbnail. A PNG says that it is sRGB.

    Args:
        picture: Alpha is flattened onto white for JPEG.
        output_format: PNG, JPEG, WebP or GIF.
        quality: 1 to 100, for JPEG and WebP; from 90 on, JPEG keeps colour at full resolution.
        compression: 0 to 100, as ``output_compression`` of the API: the quality of JPEG and WebP in place of
            ``quality`` (0 counts as 1), and for PNG, which loses nothing at any level, how hard to try: from 0
            (stored) to 100 (smallest).

    Raises:
        GatewayError: INVALID_REQUEST ``invalid_image`` when the picture's file turns out to be damaged.
        ValueError: The format is one that is only read, or ``compression`` out of its range (faults of the caller).
    """
    if compression is not None:
        if not 0 <= compression <= _MOST_PERCENT:
            raise ValueError(f"compression must be from 0 to 100, not {compression}")
        quality = max(1, compression)
    match output_format:
        case ImageFormat.PNG:
            level = 1 if compression is None else round(compression * _PNG_LEVELS / _MOST_PERCENT)
            data = picture.write(partial(_png, level=level))
        case ImageFormat.JPEG:
            data = picture.flattened().write(partial(_jpeg, quality=quality))
        case ImageFormat.WEBP:
            data = picture.write(partial(_webp, quality=quality))
        case ImageFormat.GIF:
            data = _gif(picture.array())
        case _:
            raise ValueError(f"{output_format} files are not made here")
    return EncodedImage(data, output_format, picture.size)


def encode_array(
    pixels: NDArray[np.uint8],
    output_format: ImageFormat,
    *,
    quality: int = DEFAULT_QUALITY,
    compression: int | None = None,
) -> EncodedImage:
    """Encodes an array of shape (height, width, 3) RGB or (height, width, 4) RGBA, dtype uint8, in sRGB.

    Raises:
        ValueError: The array has another shape or dtype (a fault of the calling code).
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or 0 in pixels.shape:
        raise ValueError(f"expected uint8 of shape (height, width, 3 or 4), got {pixels.dtype} of {pixels.shape}")
    return encode(Picture.from_array(pixels), output_format, quality=quality, compression=compression)


def _png(image: VipsImage, *, level: int) -> bytes:
    return png.write(strips(image), Size(image.width, image.height), image.bands, level=level)


def _jpeg(image: VipsImage, *, quality: int) -> bytes:
    subsampling = "off" if quality >= _FULL_COLOUR_QUALITY else "on"
    return bytes(image.jpegsave_buffer(Q=quality, keep="none", subsample_mode=subsampling))


def _webp(image: VipsImage, *, quality: int) -> bytes:
    return bytes(image.webpsave_buffer(Q=quality, keep="none", effort=_WEBP_EFFORT))


def _gif(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "GIF")
    return buffer.getvalue()
