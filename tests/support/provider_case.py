"""The facts that a provider must give to the contract suite (tests/contract/test_every_provider.py).

A file ``tests/support/provider_cases/<name>.py`` holds one or more of these in a module-level ``CASES`` tuple;
the suite finds the files by itself, and fails when a row of the translator registry has no case.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.core.calls import ProviderCall
from service.core.values import EncodedImage, ImageFormat, Size
from service.providers.base import Credential
from service.providers.http import HttpResponse

BASE_URL = "https://provider.test/base"
"""The host of every case's endpoint, so that a translator with a wired-in host is found out."""

SECRET = "the-secret-of-this-test-0123456789"
CREDENTIAL = Credential("main", secret=SECRET)

Conversation = tuple[HttpResponse, ...]
"""The provider's answers, in the order in which the translator asks."""


def png(width: int = 4, height: int = 4, shade: int = 120) -> bytes:
    """A real, tiny greyscale PNG file, made without an imaging library."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = (b"\0" + bytes([shade]) * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


SOURCE = EncodedImage(png(64, 64), ImageFormat.PNG, Size(64, 64))
"""The image that the cases send."""

RESULTS = tuple(png(shade=shade) for shade in (10, 60, 110, 160))
"""Images for the answers, all different."""

RESULTS_BASE64 = tuple(base64.b64encode(result).decode() for result in RESULTS)


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """A JSON response."""
    return HttpResponse(status, {"content-type": "application/json", **(headers or {})}, json.dumps(value).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderCase:
    """One provider, or one form of its wire format.

    Attributes:
        name: Unique, such as ``fal`` or ``fal-queue``.
        translator: The row of the translator registry that is under test.
        provider: The catalog's section that the endpoint's options and the profile come from.
        call: What is asked for. Use SOURCE as the image, and n > 1 where the provider makes several a call.
        success: The answers of a conversation that makes exactly ``call.n`` images.
        options: Endpoint options, over those of the catalog.
        credential: Defaults to one with SECRET as its ``secret``.
        auth_headers: The exact headers (names lower case) that ``authorization`` must give for the credential;
            None where they depend on the request (signatures) and the unit test checks them.
        unauthorized: The provider's own answer to a wrong key. Must become UPSTREAM_AUTH.
        rate_limited: Its 429, without a retry hint; the suite adds the hints in headers by itself.
        rate_limited_with_hint: Its 429 with the hint in the provider's own form, and the seconds it says.
        server_error: Its 5xx. Must become UNAVAILABLE.
        out_of_credit: Its answer when the account is empty or the quota is used up. Must become UPSTREAM_AUTH.
        model_gone: Its answer for an unknown or retired model. Must become MODEL_GONE.
        invalid: Its answer to a field it does not like. Must become UNSUPPORTED.
        refused: Its error answer to content it refuses. Must become CONTENT_REJECTED.
        refusals: Conversations whose last answer is a 2xx that says the content was refused.
        partial: A conversation in which one image of ``call.n`` was refused: fewer images and a warning.
        empties: Conversations whose last answer is a 2xx without any image. Must become BAD_RESPONSE.
        trusted_hosts: Hosts besides BASE_URL's that a POLL or CANCEL may go to.
    """

    name: str
    translator: str
    provider: str
    call: ProviderCall
    success: Conversation
    unauthorized: HttpResponse
    rate_limited: HttpResponse
    empties: tuple[Conversation, ...]
    server_error: HttpResponse = field(
        default_factory=lambda: HttpResponse(503, {"content-type": "text/html"}, b"<h1>")
    )
    rate_limited_with_hint: tuple[HttpResponse, float] | None = None
    out_of_credit: HttpResponse | None = None
    model_gone: HttpResponse | None = None
    invalid: HttpResponse | None = None
    refused: HttpResponse | None = None
    refusals: tuple[Conversation, ...] = ()
    partial: Conversation | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    credential: Credential = CREDENTIAL
    auth_headers: Mapping[str, str] | None = None
    trusted_hosts: tuple[str, ...] = ()
