"""One call to one model, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.core.values import Attempt, EncodedImage, ImageFormat, Size, Usage


@dataclass(frozen=True, slots=True)
class ProviderCall:
    """One call to one model, already fitted to its Profile: nothing in it exceeds what the model can do.

    Attributes:
        model: The model's name at the provider.
        image: The source, in a format and within the limits that the profile accepts.
        n: From 1 to the profile's ``max_n``.
        size: A size the profile offers, or None to leave it to the provider.
        prompt: Guidance in words; empty only where the profile does not require one.
        strength: From 0 (subtle) to 1 (bold), or None; always None where the profile lacks the knob.
        seed: From 0 to 2**32-1, or None; always None where the profile lacks the knob.
        output_format: A format the profile offers, or None to leave it to the provider.
        user: The caller's end user as an opaque id, or empty.
        options: The caller's ``provider_options`` for this provider: merged last into the request's fields.
    """

    model: str
    image: EncodedImage
    n: int = 1
    size: Size | None = None
    prompt: str = ""
    strength: float | None = None
    seed: int | None = None
    quality: str = ""
    background: str = ""
    output_format: ImageFormat | None = None
    user: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProducedImage:
    """One image as a provider hands it over: bytes, or a URL for the guarded fetcher. Exactly one is set."""

    data: bytes = field(default=b"", repr=False)
    url: str = ""
    revised_prompt: str = ""


@dataclass(frozen=True, slots=True)
class CallResult:
    """The result of one call.

    ``images`` may be fewer than asked for, never empty (that is a BAD_RESPONSE error).
    ``cost_usd`` is set only where the provider reports it; otherwise the catalog's price applies.
    ``seeds``, ``finish_reasons`` and ``aspect_ratio`` are the provider's own words, as far as it reports them: one for
    all images, or one for each in their order.
    """

    images: tuple[ProducedImage, ...]
    usage: Usage | None = None
    cost_usd: float | None = None
    deployment: str = ""
    quality: str = ""
    background: str = ""
    warnings: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    finish_reasons: tuple[str, ...] = ()
    aspect_ratio: str = ""


@dataclass(frozen=True, slots=True)
class ImageProduced:
    """One image of a call is there, with its bytes; ``position`` is its place in the call, from 0."""

    position: int
    image: ProducedImage


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """One attempt is over: how it ended, how long the provider took, and what it cost.

    ``cost_usd`` is None where the attempt failed or its cost is unknown.
    """

    attempt: Attempt
    cost_usd: float | None = None


CallEvent = ImageProduced | AttemptEnded
"""A thing that happens while one call to a model is under way."""
