"""Recraft: variateImage, by multipart form or JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from tests.doubles.framework import Call, Failure, Operation, RefusedError, Reply, VendorDouble, key_in_header
from tests.doubles.images import make_variations
from tests.doubles.strict import Field, bytes_of_data_url, first_problem, form_values, image_size

_SIZE_OF_RATIO: Mapping[str, tuple[int, int]] = {
    "1:1": (1024, 1024),
    "2:1": (2048, 1024),
    "1:2": (1024, 2048),
    "3:2": (1536, 1024),
    "2:3": (1024, 1536),
    "4:3": (1365, 1024),
    "3:4": (1024, 1365),
    "5:4": (1280, 1024),
    "4:5": (1024, 1280),
    "6:10": (1024, 1707),
    "14:10": (1434, 1024),
    "10:14": (1024, 1434),
    "16:9": (1820, 1024),
    "9:16": (1024, 1820),
}
_SIZES = {**_SIZE_OF_RATIO, **{f"{width}x{height}": (width, height) for width, height in _SIZE_OF_RATIO.values()}}
_FIELDS: Mapping[str, Field] = {
    "size": Field(required=True, choices=tuple(_SIZES)),
    "n": Field(int, minimum=1, maximum=6),
    "random_seed": Field(int, minimum=0),
    "response_format": Field(choices=("url", "b64_json")),
    "image_format": Field(choices=("png", "webp")),
}
_LARGEST_FILE = 10_000_000
_TEXTS: Mapping[int, str] = {
    401: "request unauthorized",
    404: "404 page not found",
    429: "too many requests",
    500: "internal server error",
    503: "service unavailable",
}


def _error(status: int, message: str) -> Reply:
    if status in _TEXTS:
        return Reply(status, content=(message or _TEXTS[status]).encode(), media_type="text/plain")
    codes = {400: "invalid_request_parameter", 402: "not_enough_credits", 403: "forbidden"}
    code = codes.get(status, "error")
    return Reply(status, {"code": code, "message": message or code.replace("_", " ")})


_EDIT_FIELDS: Mapping[str, Field] = {
    "prompt": Field(required=True, minimum=1),
    "strength": Field(float, required=True, minimum=0, maximum=1),
    "model": Field(choices=("recraftv3", "recraftv4_1")),
    "n": _FIELDS["n"],
    "response_format": _FIELDS["response_format"],
}


def _checked(call: Call, fields: Mapping[str, Field] = _FIELDS) -> tuple[Mapping[str, Any], bytes]:
    """The fields and the image, found good."""
    request = call.request
    if request.form is not None:
        values = form_values(request.form, fields)
        files = request.form.files
        if [file.name for file in files] != ["image"] or files[0].media_type not in (
            "image/png",
            "image/jpeg",
            "image/webp",
        ):
            raise RefusedError(_error(400, "one image file is required"))
        image = files[0].data
    elif request.media_type == "application/json" and isinstance(request.json, dict):
        values = dict(request.json)
        url = values.pop("image", None)
        image = bytes_of_data_url(url) if isinstance(url, str) else b""
    else:
        raise RefusedError(_error(400, "the body is neither a form nor JSON"))
    problem = first_problem(values, fields)
    if problem:
        raise RefusedError(_error(400, problem.message))
    size = image_size(image)
    if len(image) > _LARGEST_FILE or size is None or min(size) < 256 or max(size) > 4096:
        raise RefusedError(_error(400, "invalid image"))
    return values, image


async def _variate(call: Call) -> Reply:
    values, source = _checked(call)
    return await _made(call, values, source, _SIZES[values["size"]])


async def _edit(call: Call) -> Reply:
    values, source = _checked(call, _EDIT_FIELDS)
    return await _made(call, values, source, image_size(source) or (1024, 1024))


async def _made(call: Call, values: Mapping[str, Any], source: bytes, size: tuple[int, int]) -> Reply:
    if call.failure is Failure.REFUSAL:
        return Reply(400, {"code": "content_moderation", "message": "The image did not pass moderation."})
    count = values.get("n", 1)
    if call.failure is Failure.EMPTY_RESULT:
        count = 0
    elif call.failure is Failure.PARTIAL_REFUSAL:
        count = max(1, count - 1)
    file_format = values.get("image_format", "webp")
    seed = values.get("random_seed", int(call.new_id()[:8], 16))
    files = await make_variations(source, count, size=size, file_format=file_format, seed=seed)
    inline = values.get("response_format") == "b64_json" and call.failure is not Failure.EXPIRED_URL
    data = [{"image_id": call.new_id(), **_delivery(call, file, file_format, inline)} for file in files]
    return Reply(json={"created": 1750000000, "credits": 40, "data": data})


def _delivery(call: Call, file: bytes, file_format: str, inline: bool) -> dict[str, str]:
    if inline:
        return {"b64_json": base64.b64encode(file).decode()}
    return {"url": call.publish(file, f"image/{file_format}")}


DOUBLES = (
    VendorDouble(
        name="recraft",
        operations=(
            Operation("POST", "/images/variateImage", _variate),
            Operation("POST", "/images/imageToImage", _edit),
        ),
        authenticate=key_in_header("Authorization", "Bearer "),
        error=_error,
        model="variate",
    ),
)
