"""OpenAI's images/edits, Azure's copy of it, and a self-hosted server that is compatible with it (vLLM-Omni)."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from tests.doubles.framework import (
    Call,
    Failure,
    Operation,
    Recorded,
    RefusedError,
    Reply,
    UploadedFile,
    VendorDouble,
    key_in_header,
)
from tests.doubles.images import make_variations
from tests.doubles.strict import Field, FieldProblem, first_problem, form_values, image_size

_LARGEST_FILE = 50_000_000
_MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp")
_MODELS = (
    "gpt-image-2",
    "gpt-image-2-2026-04-21",
    "gpt-image-2.5-flare",
    "gpt-image-2.5-sunburst",
    "gpt-image-2.6-flare",
    "gpt-image-2.6-sunburst",
    "gpt-image-1.5",
    "gpt-image-1-mini",
    "chatgpt-image-latest",
)
_WORDS: Mapping[int, tuple[str, str | None, str]] = {
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided: sk-***. You can find your API key."),
    402: ("insufficient_quota", "insufficient_quota", "You exceeded your current quota, please check your plan."),
    403: ("invalid_request_error", None, "Your organization must be verified to use this model."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for input-images per min."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: ("server_error", None, "The engine is currently overloaded, please try again later"),
}


def openai_error(status: int, message: str, *, param: str | None = None, code: str | None = None) -> Reply:
    """OpenAI's envelope."""
    kind, usual_code, words = _WORDS.get(status, ("invalid_request_error", None, "Bad request."))
    headers = {"www-authenticate": 'Bearer realm="OpenAI API"'} if status == 401 else {}
    error = {"message": message or words, "type": kind, "param": param, "code": code or usual_code}
    return Reply(status, {"error": error}, headers=headers)


def _wrong_size(value: str) -> str:
    found = re.fullmatch(r"([1-9]\d{1,3})x([1-9]\d{1,3})", value)
    if value == "auto":
        return ""
    if not found:
        return "must be auto or WIDTHxHEIGHT"
    width, height = int(found[1]), int(found[2])
    if width % 16 or height % 16 or not 1 / 3 <= width / height <= 3:
        return "must have sides divisible by 16 and an aspect ratio within 1:3 and 3:1"
    return "" if 655_360 <= width * height <= 8_294_400 else "must have from 655360 to 8294400 pixels"


_FIELDS: Mapping[str, Field] = {
    "prompt": Field(required=True, minimum=1, maximum=32_000),
    "model": Field(choices=_MODELS),
    "n": Field(int, minimum=1, maximum=10),
    "size": Field(check=_wrong_size),
    "quality": Field(choices=("low", "medium", "high", "xhigh", "max", "auto")),
    "background": Field(choices=("transparent", "opaque", "auto")),
    "output_format": Field(choices=("png", "webp", "jpeg")),
    "output_compression": Field(int, minimum=0, maximum=100),
    "input_fidelity": Field(choices=("high", "low")),
    "safety_identifier": Field(maximum=64),
    "user": Field(),
}
_AZURE_FIELDS = {**_FIELDS, "model": Field()}
_VLLM_MODEL = "Qwen/Qwen-Image-Edit-2511"
_VLLM_FIELDS: Mapping[str, Field] = {
    "prompt": Field(required=True, minimum=1),
    "model": Field(),
    "n": Field(int, minimum=1, maximum=10),
    "size": Field(check=lambda value: "" if re.fullmatch(r"auto|\d{2,4}x\d{2,4}", value) else "must be WIDTHxHEIGHT"),
    "response_format": Field(choices=("b64_json",)),
    "output_format": Field(choices=("png", "jpg", "jpeg", "webp")),
    "output_compression": Field(int, minimum=0, maximum=100),
    "background": Field(),
    "negative_prompt": Field(),
    "true_cfg_scale": Field(float, minimum=0),
    "seed": Field(int, minimum=0),
    "num_inference_steps": Field(int, minimum=1, maximum=200),
    "guidance_scale": Field(float, minimum=0),
    "user": Field(),
}


def _problem_reply(problem: FieldProblem) -> Reply:
    if problem.field == "model":
        return openai_error(400, f"{problem.message}", param="model", code="model_not_found")
    codes = {"unknown": "unknown_parameter", "missing": "missing_required_parameter", "type": "invalid_type"}
    return openai_error(400, problem.message, param=problem.field, code=codes.get(problem.reason, "invalid_value"))


def checked_form(call: Call, fields: Mapping[str, Field]) -> tuple[dict[str, Any], UploadedFile]:
    """The fields and the one image of a form, found good.

    Raises:
        RefusedError: As OpenAI would complain of the first thing that is wrong.
    """
    form = call.request.form
    if form is None:
        message = f"Unsupported content type: '{call.request.media_type}'. Only 'multipart/form-data' is accepted."
        raise RefusedError(openai_error(400, message, code="unsupported_content_type"))
    values = form_values(form, fields)
    problem = first_problem(values, fields)
    if problem:
        raise RefusedError(_problem_reply(problem))
    if not form.files or any(file.name not in ("image", "image[]") for file in form.files):
        raise RefusedError(openai_error(400, "Missing required parameter: 'image'.", param="image"))
    image = form.files[0]
    if image.media_type not in _MEDIA_TYPES or not image.filename:
        message = f"Invalid file 'image': unsupported mimetype ('{image.media_type}')."
        raise RefusedError(openai_error(400, message, param="image", code="unsupported_file_mimetype"))
    if len(image.data) >= _LARGEST_FILE or image_size(image.data) is None:
        raise RefusedError(openai_error(400, "Invalid image file or mode.", param="image", code="invalid_image_file"))
    return values, image


def pixels(size: str | None, source: bytes) -> tuple[int, int]:
    """The size that ``auto`` and WIDTHxHEIGHT come to."""
    if size is None or size == "auto":
        width, height = image_size(source) or (1, 1)
        return (1024, 1024) if width == height else (1536, 1024) if width > height else (1024, 1536)
    width_text, _, height_text = size.partition("x")
    return int(width_text), int(height_text)


def count_of(call: Call, n: int) -> int:
    """The number of images to make, which a fault may change."""
    if call.failure is Failure.EMPTY_RESULT:
        return 0
    return max(1, n - 1) if call.failure is Failure.PARTIAL_REFUSAL else n


def inline(files: list[bytes]) -> list[dict[str, Any]]:
    """The images as ``b64_json`` entries."""
    return [{"b64_json": base64.b64encode(file).decode()} for file in files]


async def _edit(fields: Mapping[str, Field], call: Call) -> Reply:
    values, image = checked_form(call, fields)
    file_format = values.get("output_format", "png")
    background = values.get("background", "auto")
    if background == "transparent" and file_format == "jpeg":
        raise RefusedError(openai_error(400, "Transparent background is not supported for JPEG.", param="background"))
    if call.failure is Failure.REFUSAL:
        raise RefusedError(_refusal())
    size = pixels(values.get("size"), image.data)
    count = count_of(call, values.get("n", 1))
    # No seed: every call makes other images.
    files = await make_variations(
        image.data, count, size=size, file_format=file_format, seed=values.get("seed", 1000 + call.request.order)
    )
    made = 1056 * count
    usage = {
        "input_tokens": 239,
        "input_tokens_details": {"image_tokens": 194, "text_tokens": 45},
        "output_tokens": made,
        "output_tokens_details": {"image_tokens": made, "text_tokens": 0},
        "total_tokens": 239 + made,
    }
    answer = {
        "created": 1781047765,
        "background": "opaque" if background == "auto" else background,
        "data": inline(files),
        "output_format": file_format,
        "quality": values.get("quality", "auto").replace("auto", "medium"),
        "size": f"{size[0]}x{size[1]}",
        "usage": usage,
    }
    return Reply(json=answer)


def _refusal() -> Reply:
    error = {
        "message": "Your request was rejected by the safety system.",
        "type": "image_generation_user_error",
        "param": None,
        "code": "moderation_blocked",
        "moderation_details": {"moderation_stage": "output", "categories": ["other"]},
    }
    return Reply(400, {"error": error})


async def _retired(call: Call) -> Reply:
    """A guess: it is documented that the endpoint takes no more requests, but not what it answers."""
    return openai_error(404, "This endpoint is retired and no longer available.", code="endpoint_retired")


def _azure_error(status: int, message: str) -> Reply:
    codes = {401: "401", 404: "DeploymentNotFound", 429: "429"}
    words = {
        401: "Access denied due to invalid subscription key or wrong API endpoint.",
        404: "The API deployment for this resource does not exist.",
        429: "Requests have exceeded the call rate limit of your current pricing tier.",
    }
    said = message or words.get(status, "The server had an error while processing your request.")
    return Reply(status, {"error": {"code": codes.get(status, str(status)), "message": said}})


async def _azure_edit(call: Call) -> Reply:
    by_deployment = "model" in call.params
    if by_deployment and not re.fullmatch(r"20\d\d-\d\d-\d\d(-preview)?", call.request.query.get("api-version", "")):
        raise RefusedError(Reply(404, {"error": {"code": "404", "message": "Resource not found"}}))
    if call.params.get("model", "gpt-image-2") != "gpt-image-2":
        raise RefusedError(_azure_error(404, ""))
    if call.failure is Failure.REFUSAL:
        inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_results": {"violence": {"filtered": True}}}
        error = {"code": "contentFilter", "message": "Your task failed as a result of our safety system."}
        raise RefusedError(Reply(400, {"error": {**error, "inner_error": inner}}))
    form = call.request.form
    if not by_deployment and form is not None and not form.text("model"):
        raise RefusedError(openai_error(400, "Missing required parameter: 'model'.", param="model"))
    return await _edit(_AZURE_FIELDS, call)


def _azure_key(request: Recorded) -> str:
    return request.headers.get("api-key", "") or key_in_header("Authorization", "Bearer ")(request)


def _vllm_error(status: int, message: str) -> Reply:
    if status == 401:
        return Reply(401, {"error": "Unauthorized"})
    return Reply(status, {"detail": message or "The request cannot be served."})


async def _vllm_edit(call: Call) -> Reply:
    form = call.request.form
    if form is not None and form.text("model") not in (None, _VLLM_MODEL):
        message = f"Model mismatch: request specifies '{form.text('model')}' but the server runs '{_VLLM_MODEL}'."
        raise RefusedError(_vllm_error(400, message))
    try:
        return await _edit(_VLLM_FIELDS, call)
    except RefusedError as refused:
        said = str(refused.reply.json["error"]["message"])
        raise RefusedError(_vllm_error(refused.reply.status, said)) from refused


DOUBLES = (
    VendorDouble(
        name="openai",
        operations=(
            Operation("POST", "/images/edits", partial(_edit, _FIELDS)),
            Operation("POST", "/images/variations", _retired),
        ),
        authenticate=key_in_header("Authorization", "Bearer "),
        error=openai_error,
        model="gpt-image-2",
    ),
    VendorDouble(
        name="azure",
        operations=(
            Operation("POST", "/openai/deployments/{model}/images/edits", _azure_edit),
            Operation("POST", "/openai/v1/images/edits", _azure_edit),
        ),
        authenticate=_azure_key,
        error=_azure_error,
        model="gpt-image-2",
    ),
    VendorDouble(
        name="vllm-omni",
        operations=(Operation("POST", "/images/edits", _vllm_edit),),
        authenticate=key_in_header("Authorization", "Bearer "),
        error=_vllm_error,
        model=_VLLM_MODEL,
    ),
)
