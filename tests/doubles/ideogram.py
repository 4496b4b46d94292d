"""Ideogram's remix: the v1 API (3.0 and 4.0) and the v2 API, at once or later."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from tests.doubles import images, strict
from tests.doubles.framework import (
    Call,
    Failure,
    Operation,
    Recorded,
    Reply,
    VendorDouble,
    key_in_header,
)
from tests.doubles.strict import Field

_MODELS_OF_V2 = ("auto", "ideogram-3", "ideogram-4", "ideogram-4-5")
_LARGEST_FILE = {"v3": 25_000_000, "v4": 25_000_000, "v2": 50_000_000}


def _resolution(value: str) -> str:
    found = re.fullmatch(r"(\d{3,4})x(\d{3,4})", value)
    sides = (int(found[1]), int(found[2])) if found else (0, 0)
    good = found and all(side % 16 == 0 and 512 <= side <= 3072 for side in sides)
    return "" if good else "is not a supported resolution"


_SHARED = {
    "image_weight": Field(int, minimum=1, maximum=100),
    "resolution": Field(check=_resolution),
    "rendering_speed": Field(choices=("FLASH", "TURBO", "DEFAULT", "QUALITY")),
}
_COUNTED = {
    "prompt": Field(required=True, minimum=1),
    "seed": Field(int, minimum=0, maximum=2_147_483_647),
    "num_images": Field(int, minimum=1, maximum=8),
    "magic_prompt": Field(choices=("AUTO", "ON", "OFF")),
    "negative_prompt": Field(),
}
_FIELDS: Mapping[str, Mapping[str, Field]] = {
    "v3": {
        **_SHARED,
        **_COUNTED,
        "aspect_ratio": Field(),
        "style_type": Field(choices=("AUTO", "GENERAL", "REALISTIC", "DESIGN", "FICTION")),
        "style_preset": Field(),
        "color_palette": Field(),
    },
    "v4": {**_SHARED, "text_prompt": Field(required=True, minimum=1), "enable_copyright_detection": Field(bool)},
    "v2": {
        **_SHARED,
        **_COUNTED,
        "aspect_ratio": Field(),
        "enable_copyright_detection": Field(bool),
    },
}

_ERRORS = {
    400: "Invalid input provided.",
    401: "Not authorized.",
    402: "Insufficient funds.",
    403: "Not authorized to generate an image.",
    404: "Not found.",
    429: "Too many requests.",
    500: "Internal error.",
    503: "The endpoint is temporarily unavailable.",
}


def _error(status: int, message: str) -> Reply:
    body = {"error": message or _ERRORS.get(status, "Unknown.")}
    return Reply(status, body | {"reject_reason": "insufficient_funds"} if status == 402 else body)


async def _remix(form_name: str, call: Call) -> Reply:
    form, fields = call.request.form, _FIELDS[form_name]
    if form_name == "v2" and call.params["model"] not in _MODELS_OF_V2:
        return _error(404, "")
    if form is None:
        return _error(400, "The body must be multipart/form-data.")
    values = strict.form_values(form, fields)
    problem = strict.first_problem(values, fields)
    if problem is not None:
        return _error(400, problem.message)
    if [file.name for file in form.files] != ["image"] or strict.image_size(form.files[0].data) is None:
        return _error(400, "Exactly one image is needed: JPEG, PNG or WebP.")
    if len(form.files[0].data) > _LARGEST_FILE[form_name]:
        return _error(400, "The image is too large.")
    if form_name == "v2" and "image_weight" in values and "resolution" in values:
        return _error(400, "A weight cannot be combined with another shape.")
    if call.failure is Failure.REFUSAL:
        return _error(422, "Prompt provided failed safety check due to the inclusion of prohibited content.")
    return Reply(json={"created": "2026-11-22T20:00:00+00:00", "data": await _images(form_name, call, values)})


async def _images(form_name: str, call: Call, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    assert call.request.form is not None
    if call.failure is Failure.EMPTY_RESULT:
        return []
    source = call.request.form.files[0].data
    size = (1024, 1024) if form_name == "v3" else None
    if "resolution" in values:
        width, height = values["resolution"].split("x")
        size = (int(width), int(height))
    seed = values.get("seed", call.request.order + 1)
    made = await images.make_variations(source, values.get("num_images", 1), size=size, seed=seed)
    refused = len(made) - 1 if call.failure is Failure.PARTIAL_REFUSAL else None
    across, down = size or strict.image_size(source) or (0, 0)
    return [
        {
            "prompt": values.get("prompt") or values.get("text_prompt"),
            "resolution": f"{across}x{down}",
            "is_image_safe": position != refused,
            "seed": seed,
            "url": None if position == refused else call.publish(data, "image/png"),
        }
        for position, data in enumerate(made)
    ]


def _model(request: Recorded, params: Mapping[str, str]) -> str:
    found = re.match(r"/v1/(ideogram-v\d)/", request.path)
    return params.get("model") or (found[1] if found else "")


DOUBLES = (
    VendorDouble(
        name="ideogram",
        operations=(
            Operation("POST", "/v1/ideogram-v3/remix", partial(_remix, "v3")),
            Operation("POST", "/v1/ideogram-v4/remix", partial(_remix, "v4")),
            Operation("POST", "/v2/image/remix/{model}", partial(_remix, "v2")),
        ),
        authenticate=key_in_header("api-key"),
        error=_error,
        model="ideogram-v3",
        model_of=_model,
    ),
)
