"""xAI's images/edits: JSON, with the image as a data URL. Withheld images are marked inside a 200."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

from tests.doubles.framework import Call, Failure, Operation, RefusedError, Reply, VendorDouble, key_in_header
from tests.doubles.images import make_variations
from tests.doubles.strict import Field, bytes_of_data_url, first_problem, image_size

_TICKS_PER_IMAGE = 200_000_000
_MODELS = ("grok-imagine-image", "grok-imagine-image-2.0", "grok-imagine-image-quality")
_WORDS: Mapping[int, tuple[str, str]] = {
    401: ("Client specified an invalid argument", "Incorrect API key provided: xa***yz."),
    403: ("The caller does not have permission to execute the specified operation", "Your team has no credits yet."),
    404: ("Some requested entity was not found", "The model does not exist or your team does not have access to it."),
    429: ("Some resource has been exhausted", "Too many requests for this model."),
    503: ("The service is currently unavailable", "The model is currently at capacity."),
}
_RATIOS = (
    "1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2", "9:19.5", "19.5:9", "9:20", "20:9", "1:2", "2:1",
)  # fmt: skip
_FIELDS: Mapping[str, Field] = {
    "model": Field(required=True),
    "prompt": Field(required=True, minimum=1, maximum=8000),
    "n": Field(int, minimum=1, maximum=10),
    "response_format": Field(choices=("b64_json", "url")),
    "aspect_ratio": Field(choices=_RATIOS),
    "resolution": Field(choices=("1k", "2k")),
    "quality": Field(choices=("low", "medium")),
    "user": Field(),
    "image": Field(dict, required=True),
}
_IMAGE_FIELDS: Mapping[str, Field] = {"url": Field(required=True), "type": Field(choices=("image_url",))}


def _error(status: int, message: str) -> Reply:
    code, words = _WORDS.get(status, ("Internal error", "Something went wrong."))
    # A wrong key is answered with 400 there.
    return Reply(400 if status == 401 else status, {"code": code, "error": message or words})


def _checked(call: Call) -> tuple[Mapping[str, Any], bytes]:
    values = call.request.json
    if not isinstance(values, dict):
        raise RefusedError(Reply(415, {"error": "Expected request with `Content-Type: application/json`"}))
    problem = first_problem(values, _FIELDS) or first_problem(values["image"], _IMAGE_FIELDS)
    if problem:
        message = f"Failed to deserialize the JSON body into the target type: {problem.message}"
        raise RefusedError(Reply(422, {"error": message}))
    if values["model"] not in _MODELS:
        raise RefusedError(_error(404, ""))
    image = bytes_of_data_url(values["image"]["url"])
    if image_size(image) is None:
        raise RefusedError(Reply(400, {"code": _WORDS[401][0], "error": "The image cannot be decoded."}))
    return values, image


async def _edit(call: Call) -> Reply:
    values, image = _checked(call)
    n = values.get("n", 1)
    files = await make_variations(image, n, size=_size(values), file_format="jpeg", seed=3000 + call.request.order)
    withheld = n if call.failure is Failure.REFUSAL else 1 if call.failure is Failure.PARTIAL_REFUSAL else 0
    entries = [
        {"respect_moderation": False} if index < withheld else _delivery(call, file, values)
        for index, file in enumerate(files)
    ]
    usage = {"cost_in_usd_ticks": _TICKS_PER_IMAGE * n}
    return Reply(json={"data": [] if call.failure is Failure.EMPTY_RESULT else entries, "usage": usage})


def _size(values: Mapping[str, Any]) -> tuple[int, int] | None:
    """About a megapixel, or four at 2k, in the shape asked for; None: the source's own size."""
    if "aspect_ratio" not in values:
        return None
    width, height = (float(side) for side in values["aspect_ratio"].split(":"))
    side = 2048 if values.get("resolution") == "2k" else 1024
    across = round(side * math.sqrt(width / height) / 16) * 16
    return across, round(side * side / across / 16) * 16


def _delivery(call: Call, file: bytes, values: Mapping[str, Any]) -> dict[str, Any]:
    told = {"revised_prompt": values["prompt"], "respect_moderation": True, "mime_type": "image/jpeg"}
    if values.get("response_format", "url") == "url" or call.failure is Failure.EXPIRED_URL:
        return {"url": call.publish(file, "image/jpeg"), **told}
    return {"b64_json": base64.b64encode(file).decode(), **told}


DOUBLES = (
    VendorDouble(
        name="xai",
        operations=(Operation("POST", "/images/edits", _edit),),
        authenticate=key_in_header("Authorization", "Bearer "),
        error=_error,
        model="grok-imagine-image",
    ),
)
