"""Stability AI's v2beta API."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import partial
from typing import Any

from tests.doubles import images, strict
from tests.doubles.framework import Call, Failure, Form, Operation, Recorded, Reply, VendorDouble, key_in_header
from tests.doubles.strict import Field

_LARGEST_REQUEST = 10 * 1024 * 1024
_RATIOS = {
    "1:1": (1024, 1024),
    "2:3": (832, 1216),
    "3:2": (1216, 832),
    "4:5": (896, 1088),
    "5:4": (1088, 896),
    "9:16": (768, 1344),
    "16:9": (1344, 768),
    "9:21": (640, 1536),
    "21:9": (1536, 640),
}
_SHARED = {
    "negative_prompt": Field(maximum=10_000),
    "seed": Field(int, minimum=0, maximum=4_294_967_294),
    "output_format": Field(choices=("png", "jpeg")),
    "style_preset": Field(),
}
_PROMPT = {"prompt": Field(required=True, minimum=1, maximum=10_000)}
_SHARE = Field(float, minimum=0, maximum=1)
# Strength is only demanded next to an image, but without an image nothing here is a variation.
_STRENGTH = Field(float, required=True, minimum=0, maximum=1)

# Path -> fields and files.
_SERVICES: Mapping[str, tuple[Mapping[str, Field], tuple[str, ...]]] = {
    "generate/sd3": (
        {
            **_SHARED,
            **_PROMPT,
            "mode": Field(required=True, choices=("image-to-image",)),
            "model": Field(choices=("sd3.5-large", "sd3.5-large-turbo", "sd3.5-medium")),
            "strength": _STRENGTH,
            "cfg_scale": Field(float, minimum=1, maximum=10),
        },
        ("image",),
    ),
    "generate/ultra": ({**_SHARED, **_PROMPT, "strength": _STRENGTH, "aspect_ratio": Field()}, ("image",)),
    "control/structure": ({**_SHARED, **_PROMPT, "control_strength": _SHARE}, ("image",)),
    "control/style": (
        {**_SHARED, **_PROMPT, "fidelity": _SHARE, "aspect_ratio": Field(choices=tuple(_RATIOS))},
        ("image",),
    ),
    "control/style-transfer": (
        {
            **_SHARED,
            "prompt": Field(maximum=10_000),
            "style_strength": _SHARE,
            "composition_fidelity": _SHARE,
            "change_strength": Field(float, minimum=0.1, maximum=1),
        },
        ("init_image", "style_image"),
    ),
}

_ERRORS = {
    400: ("bad_request", "The request is invalid."),
    401: ("unauthorized", "missing or invalid authorization header"),
    402: ("payment_required", "You lack sufficient credits to make this request. Please purchase more credits."),
    403: ("forbidden", "This key may not use this endpoint."),
    404: ("not_found", "The requested resource was not found."),
    413: ("payload_too_large", "body: payload cannot be larger than 10MiB in size"),
    429: ("rate_limit_exceeded", "You have exceeded the rate limit of 150 requests within a 10 second period."),
    500: ("internal_error", "An unexpected server error has occurred, please try again later."),
    503: ("service_unavailable", "The service is temporarily unavailable."),
}


def _error(status: int, message: str, name: str = "") -> Reply:
    usual_name, usual = _ERRORS.get(status, ("unknown", "Unknown."))
    return Reply(status, {"id": "a1b2c3", "name": name or usual_name, "errors": [message or usual]})


async def _service(path: str, call: Call) -> Reply:
    fields, file_names = _SERVICES[path]
    request = call.request
    if len(request.body) > _LARGEST_REQUEST:
        return _error(413, "")
    if request.form is None:
        return _error(400, "content-type: must be multipart/form-data")
    if request.headers.get("accept") != "application/json":
        return _error(400, "accept: this double answers in application/json only")
    values = strict.form_values(request.form, fields)
    problem = strict.first_problem(values, fields)
    if problem is not None:
        return _error(400, f"{problem.field}: {problem.message}")
    wrong = _files_problem(request.form, file_names)
    if wrong:
        return _error(400, wrong)
    return await _made(call, values, fields, request.form.files[0].data)


def _files_problem(form: Form, names: tuple[str, ...]) -> str:
    if sorted(file.name for file in form.files) != sorted(names):
        return f"{names[0]}: exactly one file each is needed for {', '.join(names)}"
    for file in form.files:
        size = strict.image_size(file.data)
        if size is None or file.media_type not in ("image/png", "image/jpeg", "image/webp"):
            return f"{file.name}: must be a JPEG, PNG or WebP image"
        if min(size) < 64 or not 4_096 <= size[0] * size[1] <= 9_437_184:
            return f"{file.name}: sides must be at least 64 pixels, and 4,096 to 9,437,184 pixels in all"
    return ""


async def _made(call: Call, values: Mapping[str, Any], fields: Mapping[str, Field], source: bytes) -> Reply:
    match call.failure:
        case Failure.REFUSAL:
            return _error(403, "Your request was flagged by our content moderation system.", "content_moderation")
        case Failure.EMPTY_RESULT:
            return Reply(json={"finish_reason": "SUCCESS", "seed": 1})
    seed = values.get("seed") or call.request.order + 1
    ratio = fields.get("aspect_ratio")
    size = _RATIOS[values.get("aspect_ratio", "1:1")] if ratio is not None and ratio.choices else None
    file_format = values.get("output_format", "png")
    made = await images.make_variations(source, 1, size=size, file_format=file_format, seed=seed)
    # The other way to refuse: a picture is there, but blurred.
    reason = "CONTENT_FILTERED" if call.failure is Failure.PARTIAL_REFUSAL else "SUCCESS"
    return Reply(json={"image": base64.b64encode(made[0]).decode(), "finish_reason": reason, "seed": seed})


_MODEL_OF_PATH = {
    "generate/ultra": "stable-image-ultra",
    "control/structure": "control-structure",
    "control/style": "control-style",
    "control/style-transfer": "control-style-transfer",
}


def _model(request: Recorded, params: Mapping[str, str]) -> str:
    named = request.form.text("model") if request.form else None
    return named or _MODEL_OF_PATH.get(request.path.removeprefix("/stable-image/"), "")


DOUBLES = (
    VendorDouble(
        name="stability",
        operations=tuple(Operation("POST", f"/stable-image/{path}", partial(_service, path)) for path in _SERVICES),
        authenticate=key_in_header("authorization", "Bearer "),
        error=_error,
        model="sd3.5-large",
        model_of=_model,
    ),
)
