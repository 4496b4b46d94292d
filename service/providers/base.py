"""The protocol that every provider's translator fulfils, and the values it speaks in.

A translator converses; it never connects. ``Translator.vary`` is a generator that yields HTTP requests and
is sent the successful (2xx) responses, so polling fits in it and a test can drive it with canned answers.
Everything that needs a socket, a clock or chance (retries, timeouts, credentials, downloads of result
URLs) belongs to the executor that drives it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum
from typing import Any, Protocol

from service.core.errors import GatewayError
from service.core.values import EncodedImage, ImageFormat, Size, Usage


class PromptRule(Enum):
    """Whether a model takes guidance in words. REQUIRED: the default prompt stands in for a missing one."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in USD; the terms that apply are added up.

    ``per_request`` is charged once a call however many images it makes; token prices are per million.
    """

    per_image: float = 0.0
    per_request: float = 0.0
    per_megapixel: float = 0.0
    input_text_tokens: float = 0.0
    input_image_tokens: float = 0.0
    output_image_tokens: float = 0.0
    output_text_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """What one model can do. Facts, kept as data in catalog.yaml, that the gateway fits requests to.

    Attributes:
        max_n: Most images one call makes; the gateway splits larger requests.
        sizes: Exactly the output sizes on offer. Empty: any size within the limits below.
        size_multiple: Sides of the output must be multiples of this many pixels.
        min_side, max_side: Limits of an output side, in pixels.
        max_pixels: Limit of output width times height.
        output_follows_input: The output has the size of the input; no size can be asked for.
        auto_follows_input: Asked for no size, the model takes the shape of the input. Otherwise its default is an
            unrelated shape, and the gateway asks for the size nearest to the source's shape.
        input_formats: Formats accepted as input; the gateway converts anything else to the first of them.
        max_input_bytes: Limit of the encoded input file.
        min_input_side, max_input_side, max_input_pixels: Limits of the input in pixels.
        min_input_pixels: Smallest input width times height.
        square_input: The input must be square; the gateway crops it, centred.
        output_formats: Formats that can be asked for; empty: none can, the provider decides.
        seed, strength, quality, background: Whether the model has that knob.
        prompt: Whether it takes guidance in words.
        price: None where unknown.
        sunset: The day from which the provider no longer serves it.
        free: Repeating a call costs nothing (self-hosted, embedded), so any failure may be retried.
        notes: What is uncertain about these facts, for the people who read ListModels.
    """

    max_n: int = 1
    sizes: tuple[Size, ...] = ()
    size_multiple: int = 1
    min_side: int = 64
    max_side: int = 4096
    max_pixels: int = 4096 * 4096
    output_follows_input: bool = False
    auto_follows_input: bool = False
    input_formats: tuple[ImageFormat, ...] = (ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP)
    max_input_bytes: int = 20_000_000
    min_input_side: int = 1
    max_input_side: int = 8192
    min_input_pixels: int = 1
    max_input_pixels: int = 8192 * 8192
    square_input: bool = False
    output_formats: tuple[ImageFormat, ...] = ()
    seed: bool = False
    strength: bool = False
    quality: bool = False
    background: bool = False
    prompt: PromptRule = PromptRule.NONE
    price: Price | None = None
    sunset: date | None = None
    free: bool = False
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how one configured provider is reached. Holds no secret.

    Attributes:
        provider: The provider's name in the config, which a target's first half names.
        base_url: Without a trailing slash. Requests to its origin carry the credential.
        trusted_hosts: Further hosts that may be polled and given the credential, by https only: exact names, or
            suffixes that start with a dot (``.bfl.ai``).
        options: Wire-format settings of this provider, such as ``api_version``, ``region`` or ``project``.
    """

    provider: str
    base_url: str
    trusted_hosts: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Credential:
    """One key at one provider. ``name`` is for logs; the rest never leaves the process but to the provider.

    ``secret`` is the API key or token. ``parts`` holds what some schemes need besides, such as AWS's
    ``access_key_id``, ``secret_access_key`` and ``session_token``.
    """

    name: str
    secret: str = field(default="", repr=False)
    parts: Mapping[str, str] = field(default_factory=dict, repr=False)


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
    """What one call made.

    ``images`` may be fewer than asked for, never empty (that is a BAD_RESPONSE error).
    ``cost_usd`` is set only where the provider reports it; otherwise the catalog's price applies.
    """

    images: tuple[ProducedImage, ...]
    usage: Usage | None = None
    cost_usd: float | None = None
    deployment: str = ""
    quality: str = ""
    background: str = ""
    warnings: tuple[str, ...] = ()


class Purpose(Enum):
    """What a request is for, which decides whether it may be repeated.

    SUBMIT starts work that may be billed; POLL asks for a result (idempotent); CANCEL stops the work.
    """

    SUBMIT = "submit"
    POLL = "poll"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class JsonBody:
    """A body sent as application/json."""

    value: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class FormFile:
    """One file part of a multipart form."""

    name: str
    filename: str
    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FormBody:
    """A body sent as multipart/form-data: text fields first, then files."""

    fields: tuple[tuple[str, str], ...]
    files: tuple[FormFile, ...] = ()


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request that a translator wants sent. The executor adds the credential.

    Attributes:
        delay_s: Seconds to wait before sending it (polling).
        cancel: The request that stops the work, sent should the caller go away while this one is waited for.
    """

    method: str
    url: str
    purpose: Purpose = Purpose.SUBMIT
    headers: Mapping[str, str] = field(default_factory=dict)
    body: JsonBody | FormBody | None = None
    delay_s: float = 0.0
    cancel: HttpRequest | None = None


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One response as received. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class SignableRequest:
    """A request as it goes over the wire, for schemes that sign it whole (SigV4).

    Attributes:
        body: A form with a large file comes in pieces that follow each other, so that the file is not held twice.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | tuple[bytes, ...] = field(repr=False)


Exchange = Generator[HttpRequest, HttpResponse, CallResult]
"""Yields requests, is sent 2xx responses, returns the result; raises GatewayError for refusals and bad answers."""


class Translator(Protocol):
    """The wire format of one provider. Stateless: one instance serves every configured endpoint."""

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        """Converses with the provider until images are there.

        Raises:
            GatewayError: CONTENT_REJECTED when a 2xx says that the content was refused, BAD_RESPONSE when it
                makes no sense or holds no image, UNSUPPORTED when this model cannot express the call.
        """
        ...

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        """The headers that carry the credential. ``now`` is in UTC, for schemes that sign the time."""
        ...

    def failure(self, response: HttpResponse) -> GatewayError:
        """What a response with a status outside 2xx means. Never raises, whatever the bytes."""
        ...
