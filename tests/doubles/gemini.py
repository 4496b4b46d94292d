"""Google's generateContent: the Gemini API and Vertex AI."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import partial
from typing import Any

from tests.doubles import images, strict
from tests.doubles.framework import (
    Call,
    Failure,
    Operation,
    Recorded,
    RefusedError,
    Reply,
    VendorDouble,
    key_in_header,
)
from tests.doubles.strict import Field

SIZES: Mapping[str, tuple[int, int]] = {
    "1:1": (1024, 1024),
    "2:3": (848, 1264),
    "3:2": (1264, 848),
    "3:4": (896, 1200),
    "4:3": (1200, 896),
    "4:5": (928, 1152),
    "5:4": (1152, 928),
    "9:16": (768, 1376),
    "16:9": (1376, 768),
    "21:9": (1584, 672),
}
_TIERS = {"1K": 1, "2K": 2, "4K": 4}
_MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif")
_LARGEST_REQUEST = 20 * 1024 * 1024

_BODY = {
    "contents": Field(list, required=True, minimum=1),
    "generationConfig": Field(dict),
    "safetySettings": Field(list),
    "systemInstruction": Field(dict),
    "tools": Field(list),
}
_CONTENT = {"role": Field(choices=("user", "model")), "parts": Field(list, required=True, minimum=1)}
_PART = {"text": Field(), "inlineData": Field(dict)}
_INLINE = {"mimeType": Field(required=True, choices=_MEDIA_TYPES), "data": Field(required=True)}
_CONFIG = {
    "responseModalities": Field(list),
    "imageConfig": Field(dict),
    "candidateCount": Field(int, minimum=1, maximum=1),
    "temperature": Field(float, minimum=0, maximum=2),
    "topP": Field(float, minimum=0, maximum=1),
    "topK": Field(int, minimum=1),
    "maxOutputTokens": Field(int, minimum=1),
}
_IMAGE = {"aspectRatio": Field(choices=tuple(SIZES)), "imageSize": Field(choices=tuple(_TIERS))}
_VERTEX_OUTPUT = {
    "mimeType": Field(choices=("image/png", "image/jpeg")),
    "compressionQuality": Field(int, minimum=0, maximum=100),
}

_STATUS = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    402: ("FAILED_PRECONDITION", "Please enable billing on your project."),
    403: ("PERMISSION_DENIED", "Permission denied on the resource project."),
    404: ("NOT_FOUND", "The model is not found for this API version, or is not supported for generateContent."),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota."),
    500: ("INTERNAL", "An internal error has occurred."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
}


def _error(vertex: bool, status: int, message: str) -> Reply:
    name, usual = _STATUS.get(status, ("UNKNOWN", "Unknown error."))
    error: dict[str, Any] = {"code": status, "message": message or usual, "status": name}
    if status == 402:
        error["code"] = 400  # Google has no 402.
    if status == 401 and not vertex:
        # The Gemini API takes a bad key for a bad argument.
        error |= {
            "code": 400,
            "message": "API key not valid. Please pass a valid API key.",
            "status": "INVALID_ARGUMENT",
        }
        info = "type.googleapis.com/google.rpc.ErrorInfo"
        error["details"] = [{"@type": info, "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
    return Reply(error["code"], {"error": error})


def _bad(message: str) -> RefusedError:
    return RefusedError(_error(True, 400, message))


def _checked(value: Any, fields: Mapping[str, Field], where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _bad(f"Invalid value at '{where}': must be an object.")
    problem = strict.first_problem(value, fields)
    if problem is not None and problem.reason == "unknown":
        message = f"Invalid JSON payload received. Unknown name \"{problem.field}\" at '{where}': Cannot find field."
        raise _bad(message)
    if problem is not None:
        raise _bad(f"Invalid value at '{where}': {problem.message}")
    return value


async def _generate(vertex: bool, call: Call) -> Reply:
    request = call.request
    if not call.params["model"].startswith("gemini-") or call.params.get("project") == "":
        return _error(vertex, 404, f"models/{call.params['model']} is not found.")
    if request.media_type != "application/json" or len(request.body) > _LARGEST_REQUEST:
        return _error(vertex, 400, "")
    body = _checked(request.json, {**_BODY, "labels": Field(dict)} if vertex else _BODY, "")
    source, has_words = _source(body["contents"])
    config = _checked(body.get("generationConfig", {}), _CONFIG, "generation_config")
    if "IMAGE" not in config.get("responseModalities", ()):
        return Reply(json=_answer([{"text": "A picture."}], "STOP"))
    image_fields = {**_IMAGE, "imageOutputOptions": Field(dict)} if vertex else _IMAGE
    image = _checked(config.get("imageConfig", {}), image_fields, "generation_config.image_config")
    output = _checked(image.get("imageOutputOptions", {}), _VERTEX_OUTPUT, "image_output_options")
    if not has_words:
        return _error(vertex, 400, "The request needs a text part.")
    match call.failure:
        case Failure.REFUSAL | Failure.PARTIAL_REFUSAL:
            return Reply(json=_answer([], "IMAGE_SAFETY"))
        case Failure.EMPTY_RESULT:
            return Reply(json=_answer([{"text": "I can only describe it."}], "STOP"))
    file_format = output.get("mimeType", "image/png").removeprefix("image/")
    size = _size(image, source)
    made = await images.make_variations(source, 1, size=size, file_format=file_format, seed=request.order)
    data = base64.b64encode(made[0]).decode()
    inline = {"inlineData": {"mimeType": f"image/{file_format}", "data": data}}
    return Reply(json=_answer([{"text": "Here it is."}, inline], "STOP"))


def _source(contents: Any) -> tuple[bytes, bool]:
    """The last image, and whether there are words."""
    source, has_words = b"", False
    for content in contents:
        for part in _checked(content, _CONTENT, "contents[0]")["parts"]:
            part = _checked(part, _PART, "contents[0].parts[0]")
            has_words = has_words or bool(part.get("text"))
            if "inlineData" in part:
                inline = _checked(part["inlineData"], _INLINE, "inline_data")
                source = strict.bytes_of_base64(inline["data"])
    if strict.image_size(source) is None:
        raise _bad("Unable to process input image.")
    return source, has_words


def _size(image: Mapping[str, Any], source: bytes) -> tuple[int, int]:
    width, height = strict.image_size(source) or (1, 1)
    nearest = min(SIZES, key=lambda name: abs(SIZES[name][0] / SIZES[name][1] - width / height))
    across, down = SIZES[image.get("aspectRatio", nearest)]
    times = _TIERS[image.get("imageSize", "1K")]
    return across * times, down * times


def _answer(parts: list[Any], reason: str) -> dict[str, Any]:
    made = 1290 if any("inlineData" in part for part in parts) else 0
    return {
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}],
        "usageMetadata": {
            "promptTokenCount": 269,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 11}, {"modality": "IMAGE", "tokenCount": 258}],
            "candidatesTokenCount": made,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": made}],
            "totalTokenCount": 269 + made,
        },
        "modelVersion": "gemini-double",
    }


def _model(request: Recorded, params: Mapping[str, str]) -> str:
    return params.get("model", "")


DOUBLES = (
    VendorDouble(
        name="gemini",
        operations=(Operation("POST", "/models/{model}:generateContent", partial(_generate, False)),),
        authenticate=key_in_header("x-goog-api-key"),
        error=partial(_error, False),
        model="gemini-3.1-flash-image",
        model_of=_model,
    ),
    VendorDouble(
        name="vertex",
        operations=(
            Operation(
                "POST",
                "/projects/{project}/locations/{location}/publishers/google/models/{model}:generateContent",
                partial(_generate, True),
            ),
        ),
        authenticate=key_in_header("authorization", "Bearer "),
        error=partial(_error, True),
        model="gemini-3.1-flash-image",
        model_of=_model,
        options={"project": "double-project"},
    ),
)
