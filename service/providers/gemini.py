"""Google's ``generateContent`` with image output, on the Gemini API and on Vertex AI.

Request, answer and errors follow the published google-genai client and recorded Vertex traffic. The two services
share the body; they differ in URL, credential, and in that only Vertex lets the output format be chosen.
One call makes one image. There is no seed and no strength.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from service.catalog.profile import Profile
from service.core.calls import CallResult, ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Usage
from service.providers import options, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import HttpRequest, HttpResponse, JsonBody, SignableRequest

ASPECT_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9", "1:4", "4:1", "1:8", "8:1")

# The most pixels each ``imageSize`` stands for. 1K is the default and the only one that every model takes.
_TIERS = ((1_700_000, None), (6_800_000, "2K"))
_LARGEST_TIER = "4K"

# The fields that the caller's options may set. Not ``contents``, ``systemInstruction`` or ``cachedContent``: those can
# name files and caches that the operator's credential may read and the caller may not.
_OPTIONS = frozenset({"generationConfig", "safetySettings", "labels"})

_REFUSALS = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "ESCALATION",
        "MODEL_ARMOR",
    }
)


class GeminiImages:
    """The Gemini API, with its own API keys."""

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        """One call, one image. ``size`` becomes ``aspectRatio`` and, above 1K, ``imageSize``."""
        response = yield HttpRequest("POST", self._url(call, endpoint), body=self._body(call))
        return _result(wire.json_object(response))

    def authorization(
        self,
        request: SignableRequest,
        credential: Credential,
        endpoint: Endpoint,
        now: datetime,
    ) -> Mapping[str, str]:
        return {"x-goog-api-key": credential.secret}

    def failure(self, response: HttpResponse) -> GatewayError:
        error = _error_object(wire.lenient_json(response))
        message = error.get("message")
        said = message if isinstance(message, str) else ""
        return wire.status_error(response, said, kind=_kind(response.status, error, said))

    def _url(self, call: ProviderCall, endpoint: Endpoint) -> str:
        return f"{endpoint.base_url}/models/{wire.model_path(call.model)}:generateContent"

    def _image_config(self, call: ProviderCall) -> dict[str, Any]:
        if call.size is None:
            return {}  # The output keeps the shape of the input.
        config = {"aspectRatio": wire.nearest_ratio(call.size, ASPECT_RATIOS)}
        tier = next((name for most, name in _TIERS if call.size.pixels <= most), _LARGEST_TIER)
        return config if tier is None else {**config, "imageSize": tier}

    def _body(self, call: ProviderCall) -> JsonBody:
        for name in call.options:
            if name not in _OPTIONS:
                raise options.refused(name, f"of a generateContent request it can set {', '.join(sorted(_OPTIONS))}")
        image = {"inlineData": {"mimeType": call.image.format.media_type, "data": wire.base64_text(call.image.data)}}
        config: dict[str, Any] = {"responseModalities": ["TEXT", "IMAGE"]}
        if image_config := self._image_config(call):
            config["imageConfig"] = image_config
        parts = [image, {"text": call.prompt}] if call.prompt else [image]
        fields = {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}
        return options.json_body(fields, call.options)


class VertexImages(GeminiImages):
    """Vertex AI. The credential's ``secret`` is an OAuth access token.

    Endpoint options: ``project`` (required) and ``location`` (``global``). A regional location has its own host,
    to be given as the base URL.
    """

    def authorization(
        self,
        request: SignableRequest,
        credential: Credential,
        endpoint: Endpoint,
        now: datetime,
    ) -> Mapping[str, str]:
        return {"authorization": f"Bearer {credential.secret}"}

    def _url(self, call: ProviderCall, endpoint: Endpoint) -> str:
        project = endpoint.options.get("project")
        if not project:
            raise GatewayError(
                ErrorKind.UNSUPPORTED,
                f"Provider {endpoint.provider!r} needs the option 'project', the Google Cloud project's id.",
                may_have_run=False,
            )
        location = quote(endpoint.options.get("location") or "global", safe="")
        return (
            f"{endpoint.base_url}/projects/{quote(project, safe='')}/locations/{location}"
            f"/publishers/google/models/{wire.model_path(call.model)}:generateContent"
        )

    def _image_config(self, call: ProviderCall) -> dict[str, Any]:
        config = super()._image_config(call)
        if call.output_format is not None:
            config["imageOutputOptions"] = {"mimeType": call.output_format.media_type}
        return config


def _result(answer: Mapping[str, Any]) -> CallResult:
    feedback = answer.get("promptFeedback")
    if isinstance(feedback, dict) and (reason := feedback.get("blockReason")):
        detail = feedback.get("blockReasonMessage")
        raise wire.rejected(f"{reason}. {detail}" if isinstance(detail, str) else f"{reason}.")
    images: list[ProducedImage] = []
    refusals: list[str] = []
    reasons: list[str] = []
    words: list[str] = []
    candidates = answer.get("candidates")
    for candidate in candidates if isinstance(candidates, list) else ():
        if not isinstance(candidate, dict):
            raise wire.bad_response("a candidate is not an object")
        for part in _parts(candidate):
            inline = part.get("inlineData")
            if isinstance(inline, dict):
                images.append(wire.image_from_base64(inline.get("data")))
            elif isinstance(text := part.get("text"), str):
                words.append(text)
        reason = candidate.get("finishReason")
        if isinstance(reason, str):
            reasons.append(reason)
        if isinstance(reason, str) and reason in _REFUSALS:
            detail = candidate.get("finishMessage")
            refusals.append(f"{reason}. {detail}" if isinstance(detail, str) else f"{reason}.")
    usage = _usage(answer.get("usageMetadata"))
    if not images and refusals:
        raise wire.rejected(refusals[0]).replaced(usage=usage)
    if not images:
        said = wire.excerpt(" ".join(words))
        why = f'it holds no image but the words "{said}"' if said else "it holds no image"
        # It was paid for all the same.
        raise wire.bad_response(why).replaced(usage=usage)
    version = answer.get("modelVersion")
    return CallResult(
        images=tuple(images),
        usage=usage,
        deployment=version if isinstance(version, str) else "",
        warnings=tuple(f"The provider refused one of several images: {why}" for why in refusals),
        finish_reasons=tuple(reasons),
    )


def _parts(candidate: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    for part in parts if isinstance(parts, list) else ():
        # Thinking models may show drafts on the way; those are not the result.
        if isinstance(part, dict) and part.get("thought") is not True:
            yield part


def _usage(metadata: object) -> Usage | None:
    """Token counts. Thoughts are billed as text output, so they count as such."""
    if not isinstance(metadata, dict):
        return None
    input_tokens = wire.count(metadata.get("promptTokenCount"))
    output_tokens = wire.count(metadata.get("candidatesTokenCount")) + wire.count(metadata.get("thoughtsTokenCount"))
    input_image = _of_modality(metadata.get("promptTokensDetails"), "IMAGE")
    output_image = _of_modality(metadata.get("candidatesTokensDetails"), "IMAGE")
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=wire.count(metadata.get("totalTokenCount")) or input_tokens + output_tokens,
        input_image_tokens=input_image,
        input_text_tokens=max(input_tokens - input_image, 0),
        output_image_tokens=output_image,
        output_text_tokens=max(output_tokens - output_image, 0),
    )


def _of_modality(details: object, modality: str) -> int:
    return sum(
        wire.count(detail.get("tokenCount"))
        for detail in (details if isinstance(details, list) else ())
        if isinstance(detail, dict) and detail.get("modality") == modality
    )


def _error_object(body: object) -> Mapping[str, Any]:
    """The ``google.rpc.Status`` of an error answer; some of Google's front ends wrap it in a list."""
    if isinstance(body, list) and body:
        body = body[0]
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _kind(status: int, error: Mapping[str, Any], message: str) -> ErrorKind | None:
    """None where the HTTP status already says it."""
    if status != 400:
        return None
    details = error.get("details")
    listed = details if isinstance(details, list) else ()
    reasons = [detail.get("reason") for detail in listed if isinstance(detail, dict)]
    # A bad key is answered with 400 INVALID_ARGUMENT, an account without billing or in the wrong country with
    # FAILED_PRECONDITION: in both cases another key may do.
    bad_key = "API_KEY_INVALID" in reasons or "api key" in message.lower()
    if bad_key or error.get("status") == "FAILED_PRECONDITION":
        return ErrorKind.UPSTREAM_AUTH
    return None
