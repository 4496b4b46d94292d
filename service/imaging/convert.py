"""Images fitted to what a model accepts, and results brought to what the caller asked for."""

from __future__ import annotations

from service.core.values import EncodedImage, ImageFormat, Size
from service.imaging.inspect import ImageLimits
from service.providers.base import Profile


def prepare_input(data: bytes, profile: Profile, *, limits: ImageLimits) -> EncodedImage:
    """Fits an uploaded image to what a model accepts.

    The bytes pass through as they are when they comply and hold no metadata; metadata (EXIF with its GPS
    position, XMP, comments, thumbnails, anything after the picture) is the caller's and never goes to a
    provider. Where that can be cut out without decoding, it is; where the picture must change (format,
    orientation, size, frames, 16 bits, CMYK, bytes), it is re-encoded with as little loss as the limits allow.

    Raises:
        GatewayError: INVALID_REQUEST ``invalid_image`` when the file cannot be decoded; UNSUPPORTED when no
            version of this image is within the model's limits (a ribbon of 5000x10 pixels, say).
    """
    raise NotImplementedError


def finish(data: bytes, *, size: Size | None, format: ImageFormat, limits: ImageLimits) -> EncodedImage:
    """Brings a provider's result to the format and, by cover-crop, to exactly the size that was asked for.

    Bytes pass through without re-encoding when format and size are right already; metadata is removed,
    except for a C2PA manifest as long as the pixels that it vouches for are untouched.

    Args:
        data: What the provider sent; as hostile as an upload.
        size: The size that the result will have, or None to leave it as it is.
        format: The format that the result will have.

    Raises:
        GatewayError: BAD_RESPONSE when the bytes are not an image that can be decoded.
    """
    raise NotImplementedError
