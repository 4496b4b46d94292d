"""The values that travel between the layers. All are immutable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class ImageFormat(StrEnum):
    """An image file format. Results are PNG, JPEG or WebP; the others are taken as input only."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"
    GIF = "gif"
    HEIC = "heic"
    AVIF = "avif"
    TIFF = "tiff"
    BMP = "bmp"

    @property
    def media_type(self) -> str:
        return f"image/{self.value}"


WRITTEN_FORMATS = (ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP, ImageFormat.GIF)
"""The formats that files can be made in, and so those that a model's input can be converted to."""


class ResponseFormat(StrEnum):
    """The form in which results are handed over: as links to fetch, or inline."""

    URL = "url"
    B64_JSON = "b64_json"


class Fit(StrEnum):
    """The way to bring a picture of another shape to a size: by cutting off what juts out, or with room around it."""

    COVER = "cover"
    CONTAIN = "contain"


Colour = tuple[int, int, int]
"""Red, green and blue in sRGB, each from 0 to 255."""


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in pixels, written ``1024x768``."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def aspect(self) -> float:
        """Width divided by height."""
        return self.width / self.height


@dataclass(frozen=True, slots=True)
class Target:
    """One model at one provider, written ``provider/model``."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image file whose format and size are known to be what its bytes say.

    ``size`` is the size as displayed, that is with any EXIF orientation applied.
    """

    data: bytes = field(repr=False)
    format: ImageFormat
    size: Size


@dataclass(frozen=True, slots=True)
class Provenance:
    """The statements in an image's file of how its picture came to be. Statements are ``c2pa`` and ``iptc``.

    Attributes:
        found: The statements in the file as it was made.
        kept: Those of them that the file as delivered still makes.
        written: Those that the gateway added.
        digital_source_type: As the XMP of the file as delivered states it; empty where it states none.
    """

    found: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    digital_source_type: str = ""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Provenance:
        """Out of its fields as JSON has them."""
        found, kept, written = (tuple(fields[name]) for name in ("found", "kept", "written"))
        return cls(found, kept, written, str(fields["digital_source_type"]))


NOTHING_SAID: Final = Provenance()
"""Of a file that says nothing, and said nothing when it was made."""


@dataclass(frozen=True, slots=True)
class VariationRequest:
    """The caller's request, validated, before any target has been chosen.

    Every attempt starts from this value; nothing ever changes it.

    Attributes:
        model: ``provider/model``, an alias, or empty for the default route.
        image: The bytes as uploaded (not yet decoded), or empty when ``image_url`` is set.
        image_url: An https or data URL to fetch the image from, or empty.
        n: How many variations, 1 to 10.
        size: The exact size of every result, or None for ``auto``.
        fit: How a result of another shape is brought to ``size``.
        fit_ground: The colour around a contained result. None: a blurred copy of the result itself, or nothing where a
            transparent background was asked for.
        output_compression: The quality of a JPEG or WebP result from 0 to 100; None: the gateway's own choice. Always
            None for PNG, which loses nothing.
        strength: From 0 (subtle) to 1 (bold); None leaves it to the provider.
        seed: From 0 to 2**32-1; None leaves it to chance.
        fallbacks: Targets to try, in order, when the model fails.
        provider_options: Per provider name, options merged into that provider's own request only.
        user: The caller's end user, an opaque id.
        raw: Whether ``raw_request`` and ``raw_response`` were asked for.
    """

    model: str = ""
    image: bytes = field(default=b"", repr=False)
    image_url: str = ""
    n: int = 1
    size: Size | None = None
    response_format: ResponseFormat = ResponseFormat.URL
    output_format: ImageFormat = ImageFormat.PNG
    fit: Fit = Fit.COVER
    fit_ground: Colour | None = None
    output_compression: int | None = None
    prompt: str = ""
    strength: float | None = None
    seed: int | None = None
    quality: str = ""
    background: str = ""
    user: str = ""
    fallbacks: tuple[str, ...] = ()
    provider_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    raw: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as a provider reports them; zero where it reports none."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_image_tokens: int = 0
    input_text_tokens: int = 0
    output_image_tokens: int = 0
    output_text_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.total_tokens + other.total_tokens,
            self.input_image_tokens + other.input_image_tokens,
            self.input_text_tokens + other.input_text_tokens,
            self.output_image_tokens + other.output_image_tokens,
            self.output_text_tokens + other.output_text_tokens,
        )


SUCCESS: Final = "success"
"""The outcome of an attempt that the provider answered with images."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One recorded try of one target with one key.

    ``outcome`` is SUCCESS or the value of an ErrorKind; ``key`` is the key's configured name, never the key.
    """

    provider: str
    model: str
    key: str
    latency_ms: int
    outcome: str
    status: int | None = None
