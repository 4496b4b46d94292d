"""Self-hosted servers that are compatible with OpenAI's images/edits: stable-diffusion.cpp and Aquiles-Image.

Neither asks for a key by itself; these stand behind a proxy that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tests.doubles.framework import (
    Call,
    Failure,
    Operation,
    RefusedError,
    Reply,
    VendorDouble,
    key_in_header,
)
from tests.doubles.images import make_variations
from tests.doubles.openai import checked_form, count_of, inline, pixels
from tests.doubles.strict import Field

_FIELDS: Mapping[str, Field] = {
    "prompt": Field(required=True, minimum=1, maximum=1000),
    "model": Field(),
    "n": Field(int, minimum=1, maximum=10),
    "size": Field(required=True),
}
_SDCPP_FIELDS = {
    **_FIELDS,
    "prompt": Field(required=True, minimum=1),
    "size": Field(),
    "output_format": Field(choices=("png", "jpeg")),
}
_AQUILES_FIELDS = {**_FIELDS, "response_format": Field(choices=("url", "b64_json"))}


def _sdcpp_error(status: int, message: str) -> Reply:
    if status >= 500:
        return Reply(status, {"error": "server_error", "message": message or "bad allocation"})
    return Reply(status, {"error": message or "invalid request"})


def _aquiles_error(status: int, message: str) -> Reply:
    return Reply(status, {"detail": message or "The request cannot be served."})


async def _edit(fields: Mapping[str, Field], image_field: str, double_error: Any, call: Call) -> Reply:
    try:
        values, image = checked_form(call, fields)
    except RefusedError as refused:
        raise RefusedError(double_error(400, refused.reply.json["error"]["message"])) from refused
    if image.name != image_field:
        raise RefusedError(double_error(400, f"{image_field} required"))
    if call.failure is Failure.REFUSAL:
        # Neither has a filter of its own; this is what the models' checkers say.
        raise RefusedError(double_error(400, "NSFW content detected"))
    size = pixels(values.get("size"), image.data)
    file_format = values.get("output_format", "png")
    count = count_of(call, values.get("n", 1))
    seed = 3000 + call.request.order
    files = await make_variations(image.data, count, size=size, file_format=file_format, seed=seed)
    data = inline(files)
    if call.failure is Failure.EXPIRED_URL or values.get("response_format") == "url":
        data = [{"url": call.publish(file, f"image/{file_format}")} for file in files]
    return Reply(json={"created": 1750000000, "data": data})


DOUBLES = (
    VendorDouble(
        name="sdcpp",
        operations=(Operation("POST", "/images/edits", partial(_edit, _SDCPP_FIELDS, "image[]", _sdcpp_error)),),
        authenticate=key_in_header("Authorization", "Bearer "),
        error=_sdcpp_error,
        model="sd-cpp-local",
    ),
    VendorDouble(
        name="aquiles",
        operations=(Operation("POST", "/images/edits", partial(_edit, _AQUILES_FIELDS, "image", _aquiles_error)),),
        authenticate=key_in_header("Authorization", "Bearer "),
        error=_aquiles_error,
        model="default",
    ),
)
