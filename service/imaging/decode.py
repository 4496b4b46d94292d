"""From hostile bytes to upright sRGB pixels, or to an error that says what is wrong with them."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageCms

from service.core.errors import GatewayError, invalid
from service.core.values import Size
from service.imaging.inspect import ImageFacts, ImageLimits, inspect, picture_only

# ``inspect`` has checked the size against our own limits before Pillow sees a byte; Pillow's check would
# only add warnings, which are process-wide state.
Image.MAX_IMAGE_PIXELS = None
# Pillow logs every chunk it reads at DEBUG, text included.
logging.getLogger("PIL").setLevel(logging.INFO)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_COLOUR_SPACES = {"L": "GRAY", "RGB": "RGB ", "RGBA": "RGB ", "CMYK": "CMYK"}


def decode(data: bytes, *, limits: ImageLimits, at_least: Size | None = None) -> Image.Image:
    """Decodes the (first) picture completely.

    Pillow is given the picture's own data only: metadata, further frames and trailing bytes are removed
    before, so that no text chunk, EXIF block or thumbnail is ever parsed by it.

    Args:
        data: The file.
        limits: What ``inspect`` refuses unopened.
        at_least: Allows a JPEG to be decoded at a half, a quarter or an eighth of its size, which is many
            times faster, as long as both displayed sides stay at least this large.

    Returns:
        An image of mode ``RGB``, or ``RGBA`` where pixels may be transparent: upright, 8 bits a channel,
        converted to sRGB where a usable colour profile is embedded, without any metadata (``info`` is empty).

    Raises:
        GatewayError: INVALID_REQUEST ``invalid_image`` for whatever cannot be decoded.
    """
    facts = inspect(data, limits=limits)
    picture = picture_only(data, facts.format)
    with _faults_named():
        image = _load(picture, facts, at_least)
        image = _to_srgb(image, facts)
        if facts.orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[facts.orientation])
    return image


def flatten(image: Image.Image) -> Image.Image:
    """The image on a white ground: mode ``RGB``, the very same image where it has no alpha."""
    if image.mode == "RGB":
        return image
    ground = Image.new("RGB", image.size, (255, 255, 255))
    ground.paste(image, mask=image.getchannel("A"))
    return ground


@contextmanager
def _faults_named() -> Iterator[None]:
    """Turns whatever the decoders raise into an error about the image.

    They are handed hostile bytes, so every exception they raise is one about those bytes.
    """
    try:
        yield
    except GatewayError:
        raise
    except MemoryError:
        raise invalid("image", "The image takes more memory to decode than there is.") from None
    except Exception as error:
        truncated = "truncated" in str(error).lower()
        fault = "truncated: its data ends before the image is complete" if truncated else "damaged: its data is corrupt"
        raise invalid("image", f"The image is {fault}.") from error


def _load(picture: bytes, facts: ImageFacts, at_least: Size | None) -> Image.Image:
    image = Image.open(io.BytesIO(picture), formats=(facts.format.value.upper(),))
    stored = facts.stored_size
    if image.size != (stored.width, stored.height):
        raise invalid("image", "The image is damaged: its data contradicts its header.")
    if at_least is not None:
        smallest = (at_least.width, at_least.height)
        image.draft(None, smallest if facts.orientation < 5 else smallest[::-1])
    image.load()
    return image


def _to_srgb(image: Image.Image, facts: ImageFacts) -> Image.Image:
    """An image of mode RGB or RGBA without ``info``."""
    profile = image.info.get("icc_profile")
    transparency = _eight_bit_transparency(image, facts)
    if image.mode == "I;16":
        image, transparency = _from_sixteen_bits(image, image.info.get("transparency"))
    image.info = {} if transparency is None else {"transparency": transparency}
    if image.mode in ("P", "1", "LA") or transparency is not None:
        has_alpha = image.mode == "LA" or image.has_transparency_data
        image = image.convert("RGBA" if has_alpha else "RGB")
    if profile:
        image = _apply_profile(image, profile)
    if image.mode not in ("RGB", "RGBA"):
        image = image.convert("RGB")
    image.info = {}
    return image


def _eight_bit_transparency(image: Image.Image, facts: ImageFacts) -> int | bytes | tuple[int, ...] | None:
    """The colour (or palette entries) that are transparent, in the 8-bit values that the pixels now have.

    PNG states it in the file's own depth (third edition, 11.3.1.1); Pillow scales the pixels but not this.
    """
    stated: int | bytes | tuple[int, ...] | None = image.info.get("transparency")
    if stated is None or image.mode in ("P", "1", "I;16"):
        return stated
    if facts.bits == 16 and isinstance(stated, tuple):
        return tuple(value >> 8 for value in stated)
    if facts.bits < 8 and isinstance(stated, int):
        return stated * 255 // ((1 << facts.bits) - 1)
    return stated


def _from_sixteen_bits(image: Image.Image, transparent: int | None) -> tuple[Image.Image, None]:
    """A 16-bit grey image in 8 bits, rounded to nearest; with alpha where one grey is transparent."""
    grey = np.asarray(image, dtype=np.uint16)
    eight = ((grey.astype(np.uint32) * 255 + 32_767) // 65_535).astype(np.uint8)
    if transparent is None:
        return Image.fromarray(eight), None
    alpha = np.where(grey == transparent, 0, 255).astype(np.uint8)
    return Image.merge("LA", (Image.fromarray(eight), Image.fromarray(alpha))), None


def _apply_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """The image in sRGB; unchanged where the profile is damaged, for other channels, or sRGB itself."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != _COLOUR_SPACES.get(image.mode):
            return image
        if (source.profile.profile_description or "").startswith("sRGB"):
            return image
        target = ImageCms.createProfile("sRGB")
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        converted = ImageCms.profileToProfile(image, source, target, outputMode=mode)
    except Exception:
        # A colour profile is advice: whatever is wrong with it, the picture can be shown without.
        return image
    return image if converted is None else converted
