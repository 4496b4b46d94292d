"""The one place where a request's fields are checked, whichever encoding they came in."""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.core.errors import ErrorKind, GatewayError, invalid
from service.core.values import Colour, Fit, ImageFormat, ResponseFormat, Size, VariationRequest

SIZES = ("256x256", "512x512", "1024x1024", "1792x1024", "1024x1792", "1536x1024", "1024x1536")
MOST_IMAGES = 10
MOST_FALLBACKS = 10
HIGHEST_COMPRESSION = 100
LARGEST_SEED = 2**32 - 1
LONGEST_MODEL = 256
LONGEST_PROMPT = 32_000
LONGEST_USER = 256
LONGEST_WORD = 64
LONGEST_URL = 8192
DEEPEST_OPTIONS = 32
LARGEST_OPTION = 2**63 - 1
# Of a request without its image: room for the longest prompt in any script and encoding, and options besides.
MOST_TEXT_BYTES = 512 << 10
MOST_OPTION_VALUES = 10_000
# A data URL carries the image itself; the body limit bounds it.
DATA_URL_PREFIX = "data:"

# Names under which other APIs, and guesses, have the picture.
_IMAGE_LIKE = re.compile(r"(input_?)?(imgs?|images?|files?|photo|picture|init_image|image_?file)\b", re.IGNORECASE)
_SIZE_VALUES = {text: Size(*(int(side) for side in text.split("x"))) for text in SIZES}
# The size that these models made where none was asked for: code that was written for them counts on it.
_SIZES_OF_OLD = dict.fromkeys(("dall-e-2", "dall-e-3"), "1024x1024")
_COLOUR = re.compile("#[0-9A-Fa-f]{6}")
_OUTPUT_FORMATS = {"png": ImageFormat.PNG, "webp": ImageFormat.WEBP, "jpeg": ImageFormat.JPEG}


@dataclass(slots=True)
class Fields:
    """A request's fields as the encodings deliver them: typed, but not yet checked. Empty means absent.

    ``unknown_names`` holds some of the names that are none of a field: one may be where the image went.
    """

    model: str = ""
    image: bytes = field(default=b"", repr=False)
    image_given: bool = False
    image_url: str = ""
    n: int | None = None
    size: str = ""
    response_format: str = ""
    user: str = ""
    fallbacks: Sequence[str] = ()
    prompt: str = ""
    strength: float | None = None
    seed: int | None = None
    output_format: str = ""
    fit: str = ""
    fit_ground: str = ""
    output_compression: int | None = None
    quality: str = ""
    background: str = ""
    provider_options: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    unknown_names: Sequence[str] = ()


def too_much_text() -> GatewayError:
    """The error for a request with too much beside its image, whichever encoding it came in."""
    return GatewayError(
        ErrorKind.REQUEST_TOO_LARGE,
        f"Everything but the image may have at most {MOST_TEXT_BYTES} bytes together.",
        may_have_run=False,
    )


def checked(fields: Fields, *, raw: bool = False) -> VariationRequest:
    """The request that ``fields`` describe.

    Args:
        raw: Whether the caller asked for the raw exchange with the provider.

    Raises:
        GatewayError: INVALID_REQUEST, naming the first field that is wrong and what would be right.
    """
    _check_image(fields)
    output_format, fit = _output_format(fields.output_format), _fit(fields.fit)
    compression, warnings = fields.output_compression, list(fields.warnings)
    if compression is not None:
        compression = _within("output_compression", compression, 0, HIGHEST_COMPRESSION)
        if output_format is ImageFormat.PNG:
            compression = None
            warnings.append("output_compression was not used: png loses nothing. It is the quality of jpeg and webp.")
    ground = _ground(fields.fit_ground)
    if fields.fit_ground and fit is not Fit.CONTAIN:
        ground = None
        warnings.append("fit_ground was not used: it is what is around a result with fit contain.")
    if fields.background == "transparent" and output_format is ImageFormat.JPEG:
        raise invalid("output_format", "output_format must be png or webp where background is transparent, not jpeg.")
    return VariationRequest(
        model=_text("model", fields.model, LONGEST_MODEL),
        image=fields.image,
        image_url=_url(fields.image_url),
        n=_within("n", 1 if fields.n is None else fields.n, 1, MOST_IMAGES),
        size=_size(fields.size or _SIZES_OF_OLD.get(fields.model, "")),
        response_format=_response_format(fields.response_format),
        output_format=output_format,
        fit=fit,
        fit_ground=ground,
        output_compression=compression,
        prompt=_text("prompt", fields.prompt, LONGEST_PROMPT, lines=True),
        strength=_strength(fields.strength),
        seed=None if fields.seed is None else _within("seed", fields.seed, 0, LARGEST_SEED),
        quality=_text("quality", fields.quality, LONGEST_WORD),
        background=_text("background", fields.background, LONGEST_WORD),
        user=_text("user", fields.user, LONGEST_USER),
        fallbacks=_fallbacks(fields.fallbacks),
        provider_options=_provider_options(fields.provider_options),
        raw=raw,
        warnings=tuple(warnings),
    )


def fallback_name(param: str, entry: object) -> str:
    """One fallback in any of its forms as ``provider/model`` or an alias.

    Args:
        param: How the caller wrote it, such as ``fallbacks[1]``, for the error.
        entry: A string, or an object with ``model`` and perhaps ``provider``.

    Raises:
        GatewayError: INVALID_REQUEST when it cannot be understood.
    """
    form = 'write "provider/model", an alias, or an object such as {"provider": "local", "model": "vary"}'
    if isinstance(entry, str) and entry.strip():
        return _text(param, entry.strip(), LONGEST_MODEL, code="invalid_fallbacks")
    if not isinstance(entry, Mapping):
        raise invalid(param, f"{param} cannot be understood: {form}.", code="invalid_fallbacks")
    unknown = sorted(str(key) for key in entry if key not in ("provider", "model"))
    if unknown:
        raise invalid(param, f"{param} has an unknown key {unknown[0]!r:.80}: {form}.", code="invalid_fallbacks")
    provider, model = entry.get("provider", ""), entry.get("model", "")
    if not isinstance(provider, str) or not isinstance(model, str) or not model.strip():
        raise invalid(param, f"{param} must name a model in text: {form}.", code="invalid_fallbacks")
    provider, model = provider.strip(), model.strip()
    # {"provider": "openai", "model": "openai/gpt-image-2"} says the same thing twice.
    name = model if not provider or model.startswith(provider + "/") else f"{provider}/{model}"
    return _text(param, name, LONGEST_MODEL, code="invalid_fallbacks")


def _check_image(fields: Fields) -> None:
    if fields.image and fields.image_url:
        raise invalid("image_url", "Give either image or image_url, not both.")
    if fields.image or fields.image_url:
        return
    if fields.image_given:
        raise invalid(
            "image", "image is empty: send the bytes of a PNG, JPEG, WebP, GIF, HEIC, AVIF, TIFF or BMP file."
        )
    misnamed = next((name for name in fields.unknown_names if _IMAGE_LIKE.match(name)), "")
    hint = f" The field {misnamed[:64]!r} is not read: name it image." if misnamed else ""
    raise invalid(
        "image",
        f"image is required: a PNG, JPEG, WebP, GIF, HEIC, AVIF, TIFF or BMP file, or an image_url.{hint}",
        code="missing_image",
    )


def _within(param: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise invalid(param, f"{param} must be a whole number from {least} to {most}, not {value}.")
    return value


def _size(text: str) -> Size | None:
    if text in ("", "auto"):
        return None
    size = _SIZE_VALUES.get(text)
    if size is None:
        raise invalid("size", f"size must be one of {', '.join(SIZES)} or auto, not {_shown(text)}.")
    return size


def _response_format(text: str) -> ResponseFormat:
    try:
        return ResponseFormat(text or "url")
    except ValueError:
        raise invalid("response_format", f"response_format must be url or b64_json, not {_shown(text)}.") from None


def _output_format(text: str) -> ImageFormat:
    image_format = _OUTPUT_FORMATS.get(text or "png")
    if image_format is None:
        raise invalid("output_format", f"output_format must be png, webp or jpeg, not {_shown(text)}.")
    return image_format


def _fit(text: str) -> Fit:
    try:
        return Fit(text or "cover")
    except ValueError:
        raise invalid("fit", f"fit must be cover or contain, not {_shown(text)}.") from None


def _ground(text: str) -> Colour | None:
    if text in ("", "blur"):
        return None
    if not _COLOUR.fullmatch(text):
        raise invalid("fit_ground", f"fit_ground must be blur or a colour such as #ffffff, not {_shown(text)}.")
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def _strength(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and 0 <= value <= 1):
        raise invalid("strength", f"strength must be a number from 0 (subtle) to 1 (bold), not {value}.")
    return value


def _url(text: str) -> str:
    if text[: len(DATA_URL_PREFIX)].lower() != DATA_URL_PREFIX:
        _text("image_url", text, LONGEST_URL)
    return text


def _text(param: str, value: str, longest: int, *, lines: bool = False, code: str = "") -> str:
    if len(value) > longest:
        raise invalid(param, f"{param} may have at most {longest} characters, not {len(value)}.", code=code)
    # Control characters would forge log lines and headers; half surrogates have no UTF-8 form and end in an error
    # wherever they are sent. A prompt may have line breaks and tabs.
    if not value.isprintable() and any(
        unicodedata.category(character) in ("Cc", "Cs") and not (lines and character in "\n\r\t") for character in value
    ):
        raise invalid(param, f"{param} must not contain control characters or half surrogates.", code=code)
    return value


def _fallbacks(entries: Sequence[str]) -> tuple[str, ...]:
    if len(entries) > MOST_FALLBACKS:
        raise invalid("fallbacks", f"fallbacks may have at most {MOST_FALLBACKS} entries, not {len(entries)}.")
    return tuple(entries)


def _provider_options(options: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    for provider, values in options.items():
        if not isinstance(values, Mapping):
            raise _wrong_options(f"provider_options.{_shown(provider)} must be an object of options for that provider")
    _check_json(options, 0, itertools.count())
    return options


def _check_json(value: object, depth: int, values: Iterator[int]) -> None:
    """Refuses what cannot be sent on as JSON, although a Struct or a lenient parser lets it through."""
    if next(values) > MOST_OPTION_VALUES:
        raise _wrong_options(f"provider_options may hold at most {MOST_OPTION_VALUES} names and values")
    if depth > DEEPEST_OPTIONS:
        raise _wrong_options(f"provider_options may be nested at most {DEEPEST_OPTIONS} deep")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_json(name, depth + 1, values)
            _check_json(inner, depth + 1, values)
    elif isinstance(value, list):
        for inner in value:
            _check_json(inner, depth + 1, values)
    elif isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise _wrong_options("provider_options holds half a surrogate pair, which no UTF-8 text can")
    elif isinstance(value, float) and not math.isfinite(value):
        raise _wrong_options("provider_options holds a number that JSON does not have, or one that is too large")
    elif isinstance(value, int) and not -LARGEST_OPTION <= value <= LARGEST_OPTION:
        raise _wrong_options("provider_options holds a whole number of more than 64 bits")


def _wrong_options(message: str) -> GatewayError:
    return invalid("provider_options", f"{message}.")


def _shown(text: str) -> str:
    """A caller's own value, short enough to repeat to them."""
    return repr(text if len(text) <= 80 else text[:77] + "…")
