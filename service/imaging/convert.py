"""Images fitted to what a model accepts, and results brought to what the caller asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from service.catalog.profile import Profile
from service.core.errors import ErrorKind, GatewayError
from service.core.values import WRITTEN_FORMATS, Colour, EncodedImage, Fit, ImageFormat, Size
from service.imaging.decode import check_pixels, decode
from service.imaging.encode import encode
from service.imaging.inspect import EXTRACTED, ImageFacts, ImageLimits, decode_cost, extract, inspect
from service.imaging.picture import Picture
from service.imaging.provenance import has_manifest
from service.imaging.resize import Detector, contain, cover_by_detector, crop_square, resize, size_within

_PLAIN_MODES = frozenset(("L", "P", "RGB", "RGBA"))
# First without visible loss, then with some, before the picture is made smaller.
_QUALITIES = (95, 90, 80)
_LOSSY = (ImageFormat.JPEG, ImageFormat.WEBP)
_SHRINK_STEPS = 12
_NO_LOSS_ASKED = 100


def prepare_input(
    data: bytes,
    profile: Profile,
    *,
    limits: ImageLimits,
    facts: ImageFacts | None = None,
    detector: Detector | None = None,
) -> EncodedImage:
    """Fits an uploaded image to what a model accepts.

    The bytes pass through as they are when they comply and hold no metadata; metadata (EXIF with its GPS
    position, XMP, comments, thumbnails, anything after the picture) is the caller's and never goes to a
    provider. Where that can be cut out without decoding, it is; where the picture must change (format,
    orientation, size, frames, 16 bits, CMYK, bytes), it is re-encoded with as little loss as the limits allow.

    Args:
        facts: What ``inspect`` says of it, where that is known.
        detector: Finds what a square crop should keep, where the model takes nothing but squares.

    Raises:
        GatewayError: INVALID_REQUEST ``invalid_image`` when the file cannot be decoded; UNSUPPORTED when no
            version of this image is within the model's limits (a ribbon of 5000x10 pixels, say).
    """
    facts = facts or inspect(data, limits=limits)
    if input_complies(facts, profile):
        stripped = extract(data, facts.format).data
        if len(stripped) <= profile.max_input_bytes:
            check_pixels(stripped, facts)
            return EncodedImage(stripped, facts.format, facts.size)
    size = _input_size(_input_shape(facts, profile), profile)
    picture = decode(data, limits=limits)
    if profile.square_input:
        picture = crop_square(picture, detector)
    return _encode_within(resize(picture, size), facts.format, profile)


@dataclass(frozen=True, slots=True)
class Wish:
    """The form that a result should have.

    Attributes:
        size: None leaves it as it is.
        fit, ground: How a result of another shape is brought to ``size``, as in ``VariationRequest``.
        compression: As ``encode`` takes it. None leaves the quality to what made the file, or to ``encode``.
        transparent: Whether a transparent background was asked for.
    """

    size: Size | None
    format: ImageFormat
    fit: Fit = Fit.COVER
    ground: Colour | None = None
    compression: int | None = None
    transparent: bool = False


def finish(data: bytes, wish: Wish, *, limits: ImageLimits, detector: Detector | None = None) -> EncodedImage:
    """Brings a provider's result to the format and to exactly the size that was asked for.

    Args:
        data: What the provider sent; as hostile as an upload.
        detector: Finds what a crop should keep; asked only where something is cut off.

    Raises:
        GatewayError: BAD_RESPONSE when the bytes are not an image that can be decoded.
    """
    return pass_result(data, wish, limits=limits) or remake_result(data, wish, limits=limits, detector=detector)


def remake_result(data: bytes, wish: Wish, *, limits: ImageLimits, detector: Detector | None = None) -> EncodedImage:
    """The other part of ``finish``: decodes, fits and encodes a result that ``pass_result`` does not let pass."""
    try:
        picture = decode(data, limits=limits)
        return encode(_fitted(picture, wish, detector), wish.format, compression=wish.compression)
    except GatewayError as error:
        raise _unusable(error) from error


def _fitted(picture: Picture, wish: Wish, detector: Detector | None) -> Picture:
    if wish.size is None or wish.size == picture.size:
        return picture
    if wish.fit is Fit.CONTAIN:
        return contain(picture, wish.size, wish.ground, transparent=wish.transparent)
    return cover_by_detector(picture, wish.size, detector)


def pass_result(data: bytes, wish: Wish, *, limits: ImageLimits) -> EncodedImage | None:
    """The part of ``finish`` that takes no time to speak of; None where the result must be re-encoded.

    Bytes pass through without re-encoding when format and size are right already and no lower quality is asked for;
    metadata is removed, except from a file with a C2PA manifest, which vouches for all of it. Bytes that
    pass are checked to be structurally complete (for PNG, checksums included), not decoded.

    Raises:
        GatewayError: BAD_RESPONSE when the bytes are not an image.
    """
    try:
        facts = inspect(data, limits=limits)
        if facts.format is not wish.format or (wish.size is not None and wish.size != facts.size):
            return None
        # At the highest quality, encoding once more would only lose some of what there is.
        if not _is_plain(facts) or (wish.compression is not None and wish.compression < _NO_LOSS_ASKED):
            return None
        extracted = extract(data, wish.format, keep_provenance=True)
        if extracted.complete and extracted.data is not data and has_manifest(data, wish.format):
            # A manifest vouches for the whole file: without its other metadata it would not hold any more.
            return EncodedImage(data, wish.format, facts.size)
        # If the end marker is missing, only decoding tells whether pixels are missing too.
        return EncodedImage(extracted.data, wish.format, facts.size) if extracted.complete else None
    except GatewayError as error:
        raise _unusable(error) from error


def _unusable(error: GatewayError) -> GatewayError:
    return GatewayError(ErrorKind.BAD_RESPONSE, f"The provider's result cannot be used. {error.message}")


# Reading the data of this many pixels, to see that all are there, takes about a millisecond.
_MOST_PIXELS_AT_ONCE = 250_000


def passes_at_once(facts: ImageFacts, profile: Profile) -> bool:
    """Whether an upload's picture passes as it is and in next to no time, as long as its bytes are few.

    Raises:
        GatewayError: UNSUPPORTED, as ``prepare_input``.
    """
    return input_complies(facts, profile) and facts.size.pixels <= _MOST_PIXELS_AT_ONCE


def input_complies(facts: ImageFacts, profile: Profile) -> bool:
    """Whether an upload's picture passes as it is, as long as its bytes are few enough.

    Raises:
        GatewayError: UNSUPPORTED, as ``prepare_input``.
    """
    size = _input_size(_input_shape(facts, profile), profile)
    return facts.format in profile.input_formats and size == facts.size and _is_plain(facts)


def input_cost(facts: ImageFacts, profile: Profile, encoded_bytes: int) -> int:
    """The most bytes of memory that ``prepare_input`` takes at one moment.

    A picture that must be reduced to a number of bytes is tried in several ways, and is whole in memory meanwhile.

    Args:
        encoded_bytes: The length of the upload.

    Raises:
        GatewayError: UNSUPPORTED, as ``prepare_input``.
    """
    size = _input_size(_input_shape(facts, profile), profile)
    if input_complies(facts, profile) and encoded_bytes <= profile.max_input_bytes:
        return 2 * encoded_bytes
    return max(decode_cost(facts, encoded_bytes), decode_cost(facts, encoded_bytes, output=size))


def finish_cost(data: bytes, *, size: Size | None, limits: ImageLimits) -> int:
    """The most bytes of memory that ``finish`` takes at one moment; 0 for what it refuses unopened.

    Args:
        data, size, limits: As for ``finish``.
    """
    try:
        facts = inspect(data, limits=limits)
    except GatewayError:
        return 0
    return decode_cost(facts, len(data), output=size)


def _is_plain(facts: ImageFacts) -> bool:
    """Whether any decoder shows the file as it is meant without understanding metadata or special channels."""
    return (
        facts.format in EXTRACTED
        and facts.orientation == 1
        and not facts.animated
        and facts.bits <= 8
        and facts.mode in _PLAIN_MODES
    )


def _input_shape(facts: ImageFacts, profile: Profile) -> Size:
    """The size of the part of the picture that is used."""
    side = min(facts.size.width, facts.size.height)
    return Size(side, side) if profile.square_input else facts.size


def _input_size(shape: Size, profile: Profile) -> Size:
    """The size nearest to ``shape``, in its proportions, within the profile's input limits."""
    smallest_side = min(shape.width, shape.height)
    enlarge = max(1.0, profile.min_input_side / smallest_side, math.sqrt(profile.min_input_pixels / shape.pixels))
    if enlarge > 1.0:
        shape = Size(math.ceil(shape.width * enlarge), math.ceil(shape.height * enlarge))
    size = size_within(shape, max_side=profile.max_input_side, max_pixels=profile.max_input_pixels)
    if min(size.width, size.height) < profile.min_input_side or size.pixels < profile.min_input_pixels:
        raise GatewayError(
            ErrorKind.UNSUPPORTED,
            f"The image's proportions do not fit this model: at most {profile.max_input_side} pixels on the long "
            f"side leave {min(size.width, size.height)} on the short one, and the model needs at least "
            f"{profile.min_input_side} there and {profile.min_input_pixels} in all.",
            param="image",
        )
    return size


def _encode_within(picture: Picture, source: ImageFormat, profile: Profile) -> EncodedImage:
    """The picture in an accepted format and at most ``max_input_bytes`` long.

    A lossy format at full size comes before a smaller picture: it loses less of what a model sees.
    """
    formats = _formats_to_try(picture, source, profile)
    size = picture.size
    loaded = False
    for _ in range(_SHRINK_STEPS):
        smallest = 0
        for candidate in formats:
            for quality in _QUALITIES if candidate in _LOSSY else (100,):
                encoded = encode(resize(picture, size), candidate, quality=quality)
                if len(encoded.data) <= profile.max_input_bytes:
                    return encoded
                smallest = min(smallest or len(encoded.data), len(encoded.data))
                if not loaded:
                    # The first try is usually the last. Further ones need not decode again.
                    picture, loaded = picture.loaded(), True
        # Bytes go roughly with pixels; a little less, so that the next round is usually the last.
        share = min(0.81, 0.9 * profile.max_input_bytes / smallest)
        smaller = size_within(size, max_side=profile.max_input_side, max_pixels=max(1, int(size.pixels * share)))
        if min(smaller.width, smaller.height) < profile.min_input_side or smaller.pixels < profile.min_input_pixels:
            break
        size = smaller
    raise GatewayError(
        ErrorKind.UNSUPPORTED,
        f"The image cannot be brought under the {profile.max_input_bytes} bytes that this model accepts.",
        param="image",
    )


def _formats_to_try(picture: Picture, source: ImageFormat, profile: Profile) -> tuple[ImageFormat, ...]:
    """The format to prefer, then the lossy ones that need fewer bytes; a picture with alpha keeps it if it can."""
    accepted = [each for each in profile.input_formats if each in WRITTEN_FORMATS]
    if not accepted:
        message = f"The model accepts {', '.join(profile.input_formats)} files only, which are not made here."
        raise GatewayError(ErrorKind.UNSUPPORTED, message, param="image")
    first = source if source in accepted else accepted[0]
    lossy = [ImageFormat.WEBP] if picture.has_alpha else [ImageFormat.JPEG, ImageFormat.WEBP]
    return (first, *(further for further in lossy if further in accepted and further is not first))
