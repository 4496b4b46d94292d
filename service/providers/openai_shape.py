"""The common parts of the OpenAI-shaped image APIs: the edits form, the answer with its usage, the error envelope."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from service.core.calls import CallResult, ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import EncodedImage, Usage
from service.providers import options, wire
from service.providers.base import Credential, Endpoint
from service.providers.http import FormBody, FormFile, HttpResponse

JSON_HEADERS: Mapping[str, str] = {"accept": "application/json"}

_REFUSAL_CODES = frozenset(
    {
        "moderation_blocked",
        "content_policy_violation",
        # Azure's spellings.
        "contentfilter",
        "content_filter",
        "responsibleaipolicyviolation",
    }
)
_OUT_OF_CREDIT_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_MODEL_GONE_CODES = frozenset({"model_not_found", "model_deprecated", "deploymentnotfound"})
# For servers that give no code. Narrow enough not to match a complaint about a field named "moderation".
REFUSAL_WORDS = re.compile(
    r"(?i)\bnsfw\b|content[ _]polic|content (?:filter|moderation)|safety (?:system|check|filter)"
)

_LONGEST_USER = 64


def edits_form(call: ProviderCall, endpoint: Endpoint, *, name_model: bool = True) -> FormBody:
    """The multipart body of images/edits.

    What differs between servers is set by endpoint options: ``image_field`` (``image`` or ``image[]``),
    ``response_format`` (sent only if set: OpenAI refuses the field), ``user_field`` and ``seed_field`` (the names
    of those fields; not sent unless set), ``user_length`` (the most characters that the user field takes, 64).

    Raises:
        GatewayError: INVALID_REQUEST for an option of the caller's that is the gateway's to set.
    """
    fields: dict[str, Any] = {
        "prompt": call.prompt,
        "model": call.model if name_model else None,
        "n": call.n,
        "size": str(call.size) if call.size else None,
        "quality": wire.quality_level(call.quality) or None,
        "background": call.background or None,
        "output_format": call.output_format.value if call.output_format else None,
        "response_format": endpoint.options.get("response_format"),
    }
    for option, value in (
        ("user_field", _identifier(call.user, endpoint.options.get("user_length", ""))),
        ("seed_field", call.seed),
    ):
        name = endpoint.options.get(option)
        if name:
            fields[name] = value
    file = image_file(call.image, endpoint.options.get("image_field", "image"))
    return options.form_body(fields, call.options, (file,))


def _identifier(user: str, longest: str) -> str | None:
    """The end user's id; a digest of it where it is longer than the vendor takes, so that it stays the same user."""
    most = wire.count(longest) or _LONGEST_USER
    return (user if len(user) <= most else hashlib.sha256(user.encode("utf-8", "replace")).hexdigest()) or None


def image_file(image: EncodedImage, field: str) -> FormFile:
    """The source image as a file part."""
    return FormFile(field, f"image.{image.format.value}", image.format.media_type, image.data)


def bearer(credential: Credential) -> Mapping[str, str]:
    """``Authorization: Bearer``, or nothing where there is no key (self-hosted servers)."""
    return {"authorization": f"Bearer {credential.secret}"} if credential.secret else {}


def azure_key(credential: Credential, endpoint: Endpoint) -> Mapping[str, str]:
    """Azure's headers: the key in ``api-key``, or with the option ``auth: bearer`` a Microsoft Entra token."""
    if endpoint.options.get("auth") == "bearer":
        return bearer(credential)
    return {"api-key": credential.secret}


def parse_images(body: Mapping[str, Any], call: ProviderCall) -> CallResult:
    """The answer of generations, edits and variations: ``data`` with ``b64_json`` or ``url``, and perhaps ``usage``.

    Entries that hold no usable image are left out with a warning as long as one is usable.

    Raises:
        GatewayError: CONTENT_REJECTED when every entry was filtered out, BAD_RESPONSE when there is no image.
    """
    entries = body.get("data")
    if not isinstance(entries, list):
        raise wire.bad_response("it holds no list of images").replaced(usage=_usage(body.get("usage")))
    images: list[ProducedImage] = []
    warnings: list[str] = []
    failures: list[GatewayError] = []
    for entry in entries:
        try:
            images.append(_image(entry))
        except GatewayError as failure:
            failures.append(failure)
            warnings.append(f"One image was left out. {failure.message}")
    usage = _usage(body.get("usage"))
    if not images:
        refusals = (each for each in failures if each.kind is ErrorKind.CONTENT_REJECTED)
        why = next(refusals, failures[0] if failures else wire.bad_response("its list of images is empty"))
        # It was paid for all the same.
        raise why.replaced(usage=usage)
    if len(images) > call.n:
        warnings.append(f"The provider made {len(images)} images where {call.n} were asked for; the rest were dropped.")
    return CallResult(
        images=tuple(images[: call.n]),
        usage=usage,
        quality=wire.text_or_empty(body.get("quality")),
        background=wire.text_or_empty(body.get("background")),
        warnings=tuple(warnings),
    )


def _image(entry: object) -> ProducedImage:
    if not isinstance(entry, Mapping):
        raise wire.bad_response("an image is not an object")
    # xAI says so in a field of its own; nobody else has one of this name.
    if entry.get("respect_moderation") is False:
        raise wire.rejected("an image was filtered by moderation.")
    url = entry.get("url")
    encoded = entry.get("b64_json")
    if encoded is None and isinstance(url, str) and url.startswith("data:"):
        encoded = url
    if encoded is not None:
        return wire.image_from_base64(encoded, revised_prompt=entry.get("revised_prompt"))
    if isinstance(url, str) and url.isascii() and url.startswith(("https://", "http://")):
        return ProducedImage(url=url, revised_prompt=wire.text_or_empty(entry.get("revised_prompt")))
    raise wire.bad_response("an image has neither b64_json nor url")


def _usage(value: object) -> Usage | None:
    if not isinstance(value, Mapping):
        return None
    received = _details(value.get("input_tokens_details"))
    made = _details(value.get("output_tokens_details"))
    usage = Usage(
        input_tokens=wire.count(value.get("input_tokens", value.get("prompt_tokens"))),
        output_tokens=wire.count(value.get("output_tokens", value.get("completion_tokens"))),
        total_tokens=wire.count(value.get("total_tokens")),
        input_image_tokens=wire.count(received.get("image_tokens")),
        input_text_tokens=wire.count(received.get("text_tokens")),
        output_image_tokens=wire.count(made.get("image_tokens")),
        output_text_tokens=wire.count(made.get("text_tokens")),
    )
    return usage if usage != Usage() else None


def _details(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def failure(response: HttpResponse) -> GatewayError:
    """The meaning of an error answer, in the envelope ``{"error": {"message", "type", "code"}}`` and its relatives.

    Relatives: ``{"error": "…"}``, FastAPI's ``{"detail": …}`` of self-hosted servers and DeepInfra, and vLLM's
    ``{"object": "error", "message"}``.
    """
    body = wire.lenient_json(response)
    error = body.get("error") if isinstance(body, Mapping) else None
    if error is None:
        error = body
    codes = _codes(error)
    kind = None
    if codes & _REFUSAL_CODES:
        kind = ErrorKind.CONTENT_REJECTED
    elif codes & _OUT_OF_CREDIT_CODES:
        # It comes as 429, but waiting does not help: only this key's owner can.
        kind = ErrorKind.UPSTREAM_AUTH
    elif codes & _MODEL_GONE_CODES:
        kind = ErrorKind.MODEL_GONE
    said = message_of(body)
    if kind is None and response.status in (400, 422) and REFUSAL_WORDS.search(said):
        kind = ErrorKind.CONTENT_REJECTED
    return wire.status_error(response, said, kind=kind)


def _codes(error: object) -> frozenset[str]:
    """The codes and types of an error and of Azure's inner error, in lower case."""
    if not isinstance(error, Mapping):
        return frozenset()
    levels = [error, error.get("innererror"), error.get("inner_error")]
    found = (level.get(key) for level in levels if isinstance(level, Mapping) for key in ("code", "type"))
    return frozenset(code.lower() for code in found if isinstance(code, str))


def message_of(error: object, depth: int = 0) -> str:
    """The provider's own words, wherever they are; not deeper than anyone nests them."""
    if isinstance(error, str):
        return error
    if depth == 3:
        return ""
    if isinstance(error, list):
        return wire.detail_text(error[:5]) or "; ".join(
            filter(None, (message_of(each, depth + 1) for each in error[:5]))
        )
    if isinstance(error, Mapping):
        found = (message_of(error.get(key), depth + 1) for key in ("message", "errors", "error", "detail"))
        return next(filter(None, found), "")
    return ""
