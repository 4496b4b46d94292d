"""fal: some of its models, through the queue (``/fal``) and in one request (``/fal-run``)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
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
from tests.doubles.strict import Field, FieldProblem, bytes_of_data_url, first_problem, image_size

_NAMED_SIZES: Mapping[str, tuple[int, int]] = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}


def _wrong_image(url: str) -> str:
    return "" if image_size(bytes_of_data_url(url)) else "is no image in a data URL; doubles download nothing"


_FIELDS: Mapping[str, Field] = {
    "image_url": Field(required=True, check=_wrong_image),
    "num_images": Field(int, minimum=1, maximum=4),
    "num_inference_steps": Field(int, minimum=1, maximum=50),
    "guidance_scale": Field(float, minimum=1, maximum=20),
    "seed": Field(int, minimum=0),
    "enable_safety_checker": Field(bool),
    "output_format": Field(choices=("jpeg", "png")),
    "sync_mode": Field(bool),
}
_EDIT: Mapping[str, Field] = {
    **{name: field for name, field in _FIELDS.items() if name not in ("image_url", "num_inference_steps")},
    "prompt": Field(required=True, minimum=1),
    "image_urls": Field(
        list, required=True, minimum=1, check=lambda urls: next(filter(None, map(_wrong_image, urls)), "")
    ),
    "output_format": Field(choices=("jpeg", "png", "webp")),
}
_KONTEXT: Mapping[str, Field] = {
    **_FIELDS,
    "prompt": Field(required=True, minimum=1),
    "aspect_ratio": Field(choices=("21:9", "16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "9:21")),
}
_MODELS: Mapping[str, Mapping[str, Field]] = {
    "fal-ai/flux-1/dev/image-to-image": {
        **_FIELDS,
        "prompt": Field(required=True, minimum=1),
        "strength": Field(float, minimum=0.01, maximum=1),
    },
    "fal-ai/flux-pro/kontext": _KONTEXT,
    "fal-ai/flux-2/edit": _EDIT,
    "fal-ai/flux-2-pro/edit": {name: field for name, field in _EDIT.items() if name != "num_images"},
    "fal-ai/nano-banana/edit": {**_EDIT, "aspect_ratio": Field(choices=("auto", "1:1", "16:9", "3:2", "2:3"))},
    # Answers with one image instead of a list of them.
    "somebody/single": {"image_url": _FIELDS["image_url"], "prompt": Field(required=True)},
    "fal-ai/flux-1/dev/redux": _FIELDS,
    "fal-ai/flux-1/schnell/redux": {**_FIELDS, "num_inference_steps": Field(int, minimum=1, maximum=12)},
    "fal-ai/flux-pro/v1.1/redux": {**_FIELDS, "prompt": Field()},
}
_SIZE_FIELDS = {
    "width": Field(int, required=True, minimum=1, maximum=14142),
    "height": Field(int, required=True, minimum=1, maximum=14142),
}

_WORDS: Mapping[int, str] = {
    401: "Cannot access application. Authentication is required to access this application.",
    402: "Payment required. Top up your balance at fal.ai/dashboard/billing.",
    403: "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing.",
    404: "Application not found",
    429: "Too many requests",
}


def _error(status: int, message: str) -> Reply:
    if status == 503:
        error_type = "runner_scheduling_failure"
        body = {"detail": message or "Runner could not be scheduled", "error_type": error_type}
        return Reply(status, body, headers={"x-fal-error-type": error_type, "x-fal-retryable": "true"})
    if status >= 500:
        problem = {"loc": ["body"], "msg": message or "Internal server error", "type": "internal_server_error"}
        return Reply(status, {"detail": [problem]}, headers={"x-fal-retryable": "true"})
    return Reply(status, {"detail": message or _WORDS.get(status, "Bad request")})


_ERROR_TYPES = {"missing": "missing", "unknown": "extra_forbidden", "type": "type_error", "value": "value_error"}


def _invalid(problem: FieldProblem) -> RefusedError:
    detail = {"loc": ["body", *problem.field.split(".")], "msg": problem.message, "type": _ERROR_TYPES[problem.reason]}
    return RefusedError(Reply(422, {"detail": [detail]}, headers={"x-fal-retryable": "false"}))


def _checked(call: Call) -> tuple[Mapping[str, Any], tuple[int, int]]:
    """The arguments, found good, and the size that they ask for."""
    fields = _MODELS.get(call.params["model"])
    if fields is None:
        raise RefusedError(_error(404, f"Application '{call.params['model']}' not found"))
    arguments = call.request.json
    if call.request.media_type != "application/json" or not isinstance(arguments, dict):
        raise _invalid(FieldProblem("body", "type", "Input should be a valid dictionary"))
    size = arguments.get("image_size", "landscape_4_3")
    problem = first_problem({name: value for name, value in arguments.items() if name != "image_size"}, fields)
    if isinstance(size, dict):
        of_size = first_problem(size, _SIZE_FIELDS)
        problem = problem or (of_size and FieldProblem(f"image_size.{of_size.field}", of_size.reason, of_size.message))
    elif size not in _NAMED_SIZES:
        problem = problem or FieldProblem("image_size", "value", "unexpected value")
    if problem:
        raise _invalid(problem)
    return arguments, (size["width"], size["height"]) if isinstance(size, dict) else _NAMED_SIZES[size]


async def _make(call: Call) -> Reply:
    """The result: the answer of one request, and what the queue keeps for later."""
    arguments, size = _checked(call)
    count = 0 if call.failure is Failure.EMPTY_RESULT else arguments.get("num_images", 1)
    file_format = arguments.get("output_format", "jpeg")
    seed = arguments.get("seed", int(call.new_id()[:8], 16))
    url = arguments["image_urls"][0] if "image_urls" in arguments else arguments["image_url"]
    source = await asyncio.to_thread(bytes_of_data_url, url)
    files = await make_variations(source, count, size=size, file_format=file_format, seed=seed)
    flagged = {Failure.REFUSAL: count, Failure.PARTIAL_REFUSAL: 1}.get(call.failure, 0)
    images = [
        {
            "url": call.publish(file, f"image/{file_format}"),
            "width": size[0],
            "height": size[1],
            "content_type": f"image/{file_format}",
        }
        for file in files
    ]
    if call.params["model"] == "somebody/single":
        return Reply(json={"image": images[0] if images else None})
    flags = [index < flagged for index in range(count)]
    prompt = arguments.get("prompt", "")
    return Reply(
        json={
            "images": images,
            "timings": {"inference": 0.1},
            "seed": seed,
            "has_nsfw_concepts": flags,
            "prompt": prompt,
        }
    )


async def _enqueue(call: Call) -> Reply:
    answer = (await _make(call)).json
    identifier = call.new_id()
    call.jobs[identifier] = Job(identifier, polls_left=2, answer=answer)
    owner, alias = call.params["model"].split("/")[:2]
    # Below the app, without the model's further path: the reason why these URLs must not be made up.
    url = f"{call.base_url}/{owner}/{alias}/requests/{identifier}"
    return Reply(json={"status": "IN_QUEUE", "queue_position": 0, **_links(identifier, url)})


def _links(identifier: str, url: str) -> dict[str, str]:
    return {
        "request_id": identifier,
        "response_url": url,
        "status_url": f"{url}/status",
        "cancel_url": f"{url}/cancel",
    }


def _job(call: Call) -> Job:
    job = call.jobs.get(call.params["id"])
    if job is None:
        raise RefusedError(_error(404, "Request not found"))
    return job


async def _status(call: Call) -> Reply:
    job = _job(call)
    links = _links(job.identifier, call.base_url + call.request.path.removesuffix("/status"))
    if job.cancelled:
        return Reply(
            json={
                "status": "COMPLETED",
                "logs": None,
                "error": "Request was cancelled",
                "error_type": "client_cancelled",
                **links,
            }
        )
    if job.polls_left:
        job.polls_left -= 1
        state = {"status": "IN_PROGRESS", "logs": None} if job.polls_left == 0 else {"status": "IN_QUEUE"}
        position = {"queue_position": 1} if job.polls_left else {}
        return Reply(202, {**state, **position, **links})
    return Reply(json={"status": "COMPLETED", "logs": None, "metrics": {"inference_time": 0.1}, **links})


async def _response(call: Call) -> Reply:
    job = _job(call)
    return Reply(json=job.answer) if not job.polls_left else _error(400, "Request is still in progress")


async def _cancel(call: Call) -> Reply:
    job = _job(call)
    if not job.polls_left:
        return Reply(400, {"status": "ALREADY_COMPLETED"})
    job.cancelled = True
    return Reply(202, {"status": "CANCELLATION_REQUESTED"})


_MODEL = "fal-ai/flux-1/dev/redux"
_REQUEST = "/{owner}/{alias}/requests/{id}"
_KEY = key_in_header("Authorization", "Key ")

DOUBLES = (
    VendorDouble(
        name="fal",
        operations=(
            Operation("GET", f"{_REQUEST}/status", _status, Purpose.POLL),
            Operation("GET", _REQUEST, _response, Purpose.POLL),
            Operation("PUT", f"{_REQUEST}/cancel", _cancel, Purpose.CANCEL),
            Operation("POST", "/{model:path}", _enqueue),
        ),
        authenticate=_KEY,
        error=_error,
        model=_MODEL,
    ),
    VendorDouble(
        name="fal-run",
        provider="fal",
        operations=(Operation("POST", "/{model:path}", _make),),
        authenticate=_KEY,
        error=_error,
        model=_MODEL,
    ),
)
