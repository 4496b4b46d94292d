"""From pixels to files that hold nothing but the picture."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.core.values import EncodedImage, ImageFormat, Size
from service.imaging.decode import flatten
from service.imaging.formats import png

DEFAULT_QUALITY = 92
# Of libwebp's 0 (fast) to 6 (small): at quality 90 of a megapixel, 1 takes 50 ms and 4 takes 125 ms for
# files of the same size within a per cent.
_WEBP_METHOD = 1


def encode(image: Image.Image, output_format: ImageFormat, *, quality: int = DEFAULT_QUALITY) -> EncodedImage:
    """Encodes an image without any metadata: no EXIF, colour profile, text or thumbnail.

    Args:
        image: Mode ``RGB`` or ``RGBA``, in sRGB. Alpha is flattened onto white for JPEG.
        output_format: The file format.
        quality: 1 to 100, for JPEG and WebP; from 90 on, JPEG keeps colour at full resolution.
    """
    if output_format is ImageFormat.PNG:
        data = png.write(np.asarray(image))
    else:
        data = _saved(image, output_format, quality)
    return EncodedImage(data, output_format, Size(image.width, image.height))


def encode_array(
    pixels: NDArray[np.uint8], output_format: ImageFormat, *, quality: int = DEFAULT_QUALITY
) -> EncodedImage:
    """Encodes an array of shape (height, width, 3) RGB or (height, width, 4) RGBA, dtype uint8, in sRGB.

    Raises:
        ValueError: The array has another shape or dtype (a fault of the calling code).
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or 0 in pixels.shape:
        raise ValueError(f"expected uint8 of shape (height, width, 3 or 4), got {pixels.dtype} of {pixels.shape}")
    if output_format is ImageFormat.PNG:
        height, width, _ = pixels.shape
        return EncodedImage(png.write(pixels), output_format, Size(width, height))
    return encode(Image.fromarray(pixels), output_format, quality=quality)


def _saved(image: Image.Image, output_format: ImageFormat, quality: int) -> bytes:
    if image.info:
        # Pillow writes some of what it finds there (colour profile, comment, XMP) into the file.
        image = image.copy()
        image.info = {}
    buffer = io.BytesIO()
    if output_format is ImageFormat.JPEG:
        flatten(image).save(buffer, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2)
    elif output_format is ImageFormat.WEBP:
        image.save(buffer, "WEBP", quality=quality, method=_WEBP_METHOD)
    else:
        image.save(buffer, "GIF")
    return buffer.getvalue()
