"""Pictures whose pixels are made when they are asked for, a few rows at a time.

libvips works on demand: a file that is decoded, reduced and encoded goes through as strips, so that the whole picture
is in memory only where a decoder or a rotation cannot do without.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.core.errors import GatewayError, invalid
from service.core.values import Size
from service.imaging.colour import to_srgb

# Its warnings are about callers' files, and go to standard error.
os.environ.setdefault("VIPS_WARNING", "1")
import pyvips

# Pixels of earlier pictures must not be kept, and requests are worked on side by side already.
pyvips.cache_set_max(0)
pyvips.concurrency_set(1)

Result = TypeVar("Result")
VipsImage = Any
"""A ``pyvips.Image``; pyvips has no types."""

# The rows of the file that these are made of are in memory together.
_STRIP_ROWS: Final = 16
_FEW_BYTES: Final = 16_000_000
_LANCZOS: Final = "lanczos3"


@dataclass(frozen=True, slots=True)
class Source:
    """A file whose picture can be opened.

    Attributes:
        stored: Its size as stored.
        has_alpha: Whether pixels may be transparent.
        orientation: The EXIF orientation that is still to be applied, 1 to 8.
        open: Opens the picture as stored, with the colour profile that its values mean (None: sRGB). Takes how many
            times smaller than stored each side may be, and whether to fail at the first flaw.
        examine: Called when decoding failed at a flaw; raises GatewayError where it can say what is wrong.
        forgiving: Whether to decode once more without regard to flaws, where ``examine`` has nothing to say.
    """

    stored: Size
    has_alpha: bool
    orientation: int
    open: Callable[[float, bool], tuple[VipsImage, bytes | None]]
    examine: Callable[[], None] = lambda: None
    forgiving: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """An upright picture in sRGB with 8 bits a channel: RGB, or RGBA where pixels may be transparent.

    It holds the file, not the pixels: each method that hands out pixels decodes anew, and raises GatewayError
    INVALID_REQUEST ``invalid_image`` where the file turns out to be damaged. ``loaded`` decodes once for several uses.

    Attributes:
        size: Width and height.
    """

    source: Source
    window: tuple[float, float, float, float]
    size: Size

    @classmethod
    def of(cls, source: Source) -> Picture:
        """The whole picture of a source, in its own size."""
        stored = source.stored
        size = stored if source.orientation < 5 else Size(stored.height, stored.width)
        return cls(source, (0.0, 0.0, float(size.width), float(size.height)), size)

    @classmethod
    def from_array(cls, pixels: NDArray[np.uint8]) -> Picture:
        """A picture of an array of shape (height, width, 3) RGB or (height, width, 4) RGBA, in sRGB."""
        height, width, channels = pixels.shape
        contiguous = np.ascontiguousarray(pixels)
        size = Size(width, height)
        return cls.of(Source(size, channels == 4, 1, lambda *_: (from_memory(contiguous), None)))

    @property
    def width(self) -> int:
        return self.size.width

    @property
    def height(self) -> int:
        return self.size.height

    @property
    def has_alpha(self) -> bool:
        return self.source.has_alpha

    def resampled(self, window: tuple[float, float, float, float], size: Size) -> Picture:
        """The part of the picture within ``window`` (left, top, right, bottom), stretched or shrunk to ``size``."""
        left, top, right, bottom = self.window
        across, down = (right - left) / self.width, (bottom - top) / self.height
        inner = (left + window[0] * across, top + window[1] * down, left + window[2] * across, top + window[3] * down)
        return replace(self, window=inner, size=size)

    def array(self) -> NDArray[np.uint8]:
        """All pixels: shape (height, width, 3 or 4), dtype uint8."""
        return self._made(partial(_to_array, orientation=self.source.orientation))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """For ``numpy.asarray``."""
        return self.array() if dtype is None else self.array().astype(dtype)

    def loaded(self) -> Picture:
        """The same picture, decoded now: three or four bytes a pixel are held as long as it is."""
        return Picture.from_array(self.array())

    def flattened(self) -> Picture:
        """The picture on a white ground, without alpha."""
        if not self.has_alpha:
            return self
        whole = self

        def opened(shrink: float, strict: bool) -> tuple[VipsImage, None]:  # noqa: ARG001 - already reduced
            return whole._rendered(strict).flatten(background=255), None

        source = whole.source
        size = self.size if source.orientation < 5 else Size(self.height, self.width)
        return Picture.of(Source(size, False, source.orientation, opened, source.examine, source.forgiving))

    def write(self, encoder: Callable[[VipsImage], Result]) -> Result:
        """The result of ``encoder``, which is called once more where a small flaw of the file is to be overlooked."""
        orientation = self.source.orientation
        if orientation == 1:
            return self._made(encoder)
        # The last row may come first: all rows have to be there.
        return self._made(lambda image: encoder(from_memory(_to_array(image, orientation=orientation))))

    def check(self) -> None:
        """Decodes everything and keeps nothing."""
        self._made(lambda image: image.avg())

    def _made(self, sink: Callable[[VipsImage], Result]) -> Result:
        with faults_named():
            try:
                return sink(self._rendered(strict=True))
            except pyvips.Error:
                self.source.examine()
                if not self.source.forgiving:
                    raise
            return sink(self._rendered(strict=False))

    def _rendered(self, strict: bool) -> VipsImage:
        """The pipeline from the file to the window's pixels, as they are stored: not yet upright."""
        source, size = self.source, self.size
        left, top, right, bottom = _as_stored(self.window, source)
        if source.orientation >= 5:
            size = Size(size.height, size.width)
        across, down = size.width / (right - left), size.height / (bottom - top)
        image, profile = source.open(max(1.0, min(1 / across, 1 / down)), strict)
        # The opened image may be smaller already, by whole factors, rounded up.
        across *= source.stored.width / image.width
        down *= source.stored.height / image.height
        left, right = (each * image.width / source.stored.width for each in (left, right))
        top, bottom = (each * image.height / source.stored.height for each in (top, bottom))
        image = _resized(image, across, down, source.has_alpha)
        x = min(max(0, round(left * across)), max(0, image.width - size.width))
        y = min(max(0, round(top * down)), max(0, image.height - size.height))
        if (image.width, image.height) != (size.width, size.height):
            image = image.crop(x, y, min(size.width, image.width), min(size.height, image.height))
        return to_srgb(image, profile, source.has_alpha)


@contextmanager
def faults_named() -> Iterator[None]:
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
        said = str(error).lower()
        if "out of memory" in said:
            raise invalid("image", "The image takes more memory to decode than there is.") from None
        truncated = "truncated" in said
        fault = "truncated: its data ends before the image is complete" if truncated else "damaged: its data is corrupt"
        raise invalid("image", f"The image is {fault}.") from error


def from_memory(pixels: NDArray[Any]) -> VipsImage:
    """A libvips image over an array of shape (height, width, channels), dtype uint8 or uint16; nothing is copied."""
    height, width, channels = pixels.shape
    kind = "uchar" if pixels.dtype == np.uint8 else "ushort"
    image = pyvips.Image.new_from_memory(pixels.data, width, height, channels, kind)
    grey = channels < 3
    if kind == "uchar":
        return image.copy(interpretation="b-w" if grey else "srgb")
    return image.copy(interpretation="grey16" if grey else "rgb16")


def strips(image: VipsImage) -> Iterator[NDArray[np.uint8]]:
    """The rows of an 8-bit image from the top down, in arrays of shape (rows, width, channels)."""
    if image.width * image.height * image.bands <= _FEW_BYTES:
        # A reduced picture: rows that are asked for one strip at a time hold more of the file than all at once.
        whole = np.frombuffer(image.write_to_memory(), np.uint8).reshape(image.height, image.width, image.bands)
        yield from (whole[top : top + _STRIP_ROWS] for top in range(0, image.height, _STRIP_ROWS))
        return
    region = pyvips.Region.new(image)
    for top in range(0, image.height, _STRIP_ROWS):
        rows = min(_STRIP_ROWS, image.height - top)
        pixels = region.fetch(0, top, image.width, rows)
        yield np.frombuffer(pixels, np.uint8).reshape(rows, image.width, image.bands)


def _to_array(image: VipsImage, *, orientation: int) -> NDArray[np.uint8]:
    """All pixels of an image, put upright strip by strip, so that they are in memory once."""
    if orientation == 1:
        pixels = np.frombuffer(image.write_to_memory(), np.uint8)
        return pixels.reshape(image.height, image.width, image.bands)
    width, height = (image.width, image.height) if orientation < 5 else (image.height, image.width)
    upright = np.empty((height, width, image.bands), np.uint8)
    stored = _stored_view(upright, orientation)
    top = 0
    for strip in strips(image):
        stored[top : top + len(strip)] = strip
        top += len(strip)
    return upright


def _stored_view(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """An upright picture's pixels, seen as the EXIF orientation says that they are stored."""
    match orientation:
        case 2:
            return upright[:, ::-1]
        case 3:
            return upright[::-1, ::-1]
        case 4:
            return upright[::-1]
        case 5:
            return upright.swapaxes(0, 1)
        case 6:
            return upright.swapaxes(0, 1)[::-1]
        case 7:
            return upright[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return upright.swapaxes(0, 1)[:, ::-1]
        case _:
            return upright


def _as_stored(window: tuple[float, float, float, float], source: Source) -> tuple[float, float, float, float]:
    """A window in the displayed picture as one in the stored picture."""
    left, top, right, bottom = window
    width, height = source.stored.width, source.stored.height
    match source.orientation:
        case 2:
            return width - right, top, width - left, bottom
        case 3:
            return width - right, height - bottom, width - left, height - top
        case 4:
            return left, height - bottom, right, height - top
        case 5:
            return top, left, bottom, right
        case 6:
            return top, height - right, bottom, height - left
        case 7:
            return width - bottom, height - right, width - top, height - left
        case 8:
            return width - bottom, left, width - top, right
        case _:
            return window


def _resized(image: VipsImage, across: float, down: float, has_alpha: bool) -> VipsImage:
    width, height = max(1, round(image.width * across)), max(1, round(image.height * down))
    if (width, height) == (image.width, image.height):
        return image
    options = {"vscale": _scale(height, image.height), "kernel": _LANCZOS}
    if not has_alpha:
        return image.resize(_scale(width, image.width), **options)
    # Colours of transparent pixels must not bleed into the others.
    form, meaning = image.format, image.interpretation
    image = image.premultiply().rint().cast(form).copy(interpretation=meaning)
    image = image.resize(_scale(width, image.width), **options).unpremultiply()
    return image.rint().cast(form).copy(interpretation=meaning)


def _scale(wanted: int, there: int) -> float:
    """A factor that leads to exactly ``wanted`` pixels, however it is rounded."""
    return math.nextafter(wanted / there, math.inf) if round(there * (wanted / there)) != wanted else wanted / there
