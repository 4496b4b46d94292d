"""Black Forest Labs: submit and poll."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from tests.doubles.framework import (
    Call,
    Failure,
    Job,
    Operation,
    Purpose,
    RefusedError,
    Reply,
    VendorDouble,
    key_in_header,
)
from tests.doubles.images import make_variations
from tests.doubles.strict import Field, FieldProblem, bytes_of_base64, first_problem, image_size

_RATIOS: Mapping[str, tuple[int, int]] = {
    "1:1": (1024, 1024),
    "21:9": (1568, 672),
    "16:9": (1392, 752),
    "3:2": (1248, 832),
    "4:3": (1184, 880),
    "5:4": (1152, 928),
    "4:5": (928, 1152),
    "3:4": (880, 1184),
    "2:3": (832, 1248),
    "9:16": (752, 1392),
    "9:21": (672, 1568),
}


def _wrong_image(text: str) -> str:
    return "" if image_size(bytes_of_base64(text)) else "is no image in base64; doubles download nothing"


def _wrong_image_of_flux_3(text: str) -> str:
    size = image_size(bytes_of_base64(text))
    return _wrong_image(text) or ("" if size and min(size) >= 256 else "is smaller than 256x256")


def _multiple_of(number: int) -> Callable[[int], str]:
    return lambda value: "" if value % number == 0 else f"is no multiple of {number}"


_COMMON: Mapping[str, Field] = {
    "prompt": Field(required=True),
    "seed": Field(int),
    "output_format": Field(choices=("jpeg", "png")),
    "webhook_url": Field(),
    "webhook_secret": Field(),
}
_FLUX_2: Mapping[str, Field] = {
    **_COMMON,
    "input_image": Field(check=_wrong_image),
    **{f"input_image_{number}": Field(check=_wrong_image) for number in range(2, 9)},
    "width": Field(int, minimum=64, maximum=4096, check=_multiple_of(16)),
    "height": Field(int, minimum=64, maximum=4096, check=_multiple_of(16)),
    "safety_tolerance": Field(int, minimum=0, maximum=5),
}
_FLUX_1: Mapping[str, Field] = {
    **_COMMON,
    "image_prompt": Field(check=_wrong_image),
    "prompt_upsampling": Field(bool),
    "safety_tolerance": Field(int, minimum=0, maximum=6),
}
_KONTEXT: Mapping[str, Field] = {
    **_COMMON,
    "input_image": Field(check=_wrong_image),
    "aspect_ratio": Field(choices=tuple(_RATIOS)),
    "prompt_upsampling": Field(bool),
    "safety_tolerance": Field(int, minimum=0, maximum=6),
}
_FLUX_3: Mapping[str, Field] = {
    "prompt": Field(required=True),
    "images": Field(
        list, minimum=1, maximum=10, check=lambda images: next(filter(None, map(_wrong_image_of_flux_3, images)), "")
    ),
    "aspect_ratio": Field(choices=("auto", "2:1", "7:5", "5:7", "1:2", *_RATIOS)),
    "resolution": Field(choices=("768sq", "1k", "1.5k", "2k", "4k")),
    "grounding": Field(bool),
    "safety_tolerance": Field(int, minimum=0, maximum=4),
    "version": Field(),
}
_MODELS: Mapping[str, Mapping[str, Field]] = {
    "flux-3-image": _FLUX_3,
    **dict.fromkeys(("flux-2-pro", "flux-2-max", "flux-2-klein-4b", "flux-2-klein-9b"), _FLUX_2),
    "flux-2-flex": {**_FLUX_2, "steps": Field(int, minimum=1), "guidance": Field(float, minimum=1)},
    "flux-pro-1.1": {
        **_FLUX_1,
        "width": Field(int, minimum=256, maximum=1440, check=_multiple_of(32)),
        "height": Field(int, minimum=256, maximum=1440, check=_multiple_of(32)),
    },
    "flux-pro-1.1-ultra": {
        **_FLUX_1,
        "aspect_ratio": Field(choices=tuple(_RATIOS)),
        "image_prompt_strength": Field(float, minimum=0, maximum=1),
        "raw": Field(bool),
    },
    **dict.fromkeys(("flux-kontext-pro", "flux-kontext-max"), _KONTEXT),
}


def _error(status: int, message: str) -> Reply:
    if status == 401:
        # Wrong keys are forbidden here, not unauthorized.
        return Reply(403, {"detail": message or "Not authenticated - Invalid Authentication"})
    if status == 429:
        return Reply(429, {"error": "rate_limit_exceeded", "message": message or "Too many active tasks."})
    words = {
        402: "Insufficient credits. Please add credits to continue.",
        403: "Not authenticated - Forbidden",
        404: "Not Found",
        503: "Service Unavailable",
    }
    return Reply(status, {"detail": message or words.get(status, "Internal Server Error")})


def _invalid(problem: FieldProblem) -> RefusedError:
    kinds = {"missing": "missing", "unknown": "extra_forbidden", "type": "type_error", "value": "value_error"}
    detail = {"loc": ["body", problem.field], "msg": problem.message, "type": kinds[problem.reason]}
    return RefusedError(Reply(422, {"detail": [detail]}))


async def _submit(call: Call) -> Reply:
    fields, body = _MODELS.get(call.params["model"]), call.request.json
    if fields is None:
        raise RefusedError(_error(404, ""))
    if call.request.media_type != "application/json" or not isinstance(body, dict):
        raise _invalid(FieldProblem("", "type", "Input should be a valid dictionary"))
    problem = first_problem(body, fields)
    if problem:
        raise _invalid(problem)
    identifier = call.new_id()
    call.jobs[identifier] = Job(identifier, polls_left=2, answer=await _outcome(call, body))
    polling_url = f"{call.base_url}/get_result?id={identifier}"
    return Reply(json={"id": identifier, "polling_url": polling_url, "cost": 4.5, "input_mp": 1.0, "output_mp": 1.0})


async def _outcome(call: Call, body: Mapping[str, Any]) -> dict[str, Any]:
    if call.failure is Failure.REFUSAL:
        return {"status": "Content Moderated", "details": {"Moderation Reasons": ["Safety Filter"]}}
    if call.failure is Failure.EMPTY_RESULT:
        return {"status": "Ready", "result": {}}
    source = await asyncio.to_thread(bytes_of_base64, _image_of(body))
    file_format = body.get("output_format", "jpeg")
    seed = body.get("seed", int(call.new_id()[:8], 16))
    (file,) = await make_variations(source, 1, size=_size(body, source), file_format=file_format, seed=seed)
    sample = call.publish(file, f"image/{file_format}")
    return {"status": "Ready", "result": {"sample": sample, "prompt": body["prompt"], "seed": seed}}


def _image_of(body: Mapping[str, Any]) -> str:
    return str(body.get("input_image") or body.get("image_prompt") or next(iter(body.get("images", [])), ""))


def _size(body: Mapping[str, Any], source: bytes) -> tuple[int, int]:
    if body.get("aspect_ratio", "auto") in _RATIOS:
        return _RATIOS[body["aspect_ratio"]]
    width, height = image_size(source) or (1024, 1024)
    return body.get("width", max(64, width // 16 * 16)), body.get("height", max(64, height // 16 * 16))


async def _get_result(call: Call) -> Reply:
    identifier = call.request.query.get("id", "")
    empty = {"id": identifier, "result": None, "progress": None, "details": None, "preview": None}
    job = call.jobs.get(identifier)
    if job is None:
        return Reply(404, {**empty, "status": "Task not found"})
    if job.polls_left:
        job.polls_left -= 1
        return Reply(json={**empty, "status": "Pending", "progress": 0.5})
    return Reply(json={**empty, **job.answer})


DOUBLES = (
    VendorDouble(
        name="bfl",
        operations=(
            Operation("GET", "/get_result", _get_result, Purpose.POLL),
            Operation("POST", "/{model}", _submit),
        ),
        authenticate=key_in_header("x-key"),
        error=_error,
        model="flux-2-pro",
    ),
)
