"""Replicate: some of its models as predictions, and its files."""

from __future__ import annotations

import re
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
from tests.doubles.strict import Field, bytes_of_data_url, first_problem, image_size

_SIZES: Mapping[str, tuple[int, int]] = {
    "1:1": (1024, 1024),
    "16:9": (1344, 768),
    "21:9": (1536, 640),
    "3:2": (1216, 832),
    "2:3": (832, 1216),
    "4:5": (896, 1088),
    "5:4": (1088, 896),
    "3:4": (896, 1152),
    "4:3": (1152, 896),
    "9:16": (768, 1344),
    "9:21": (640, 1536),
}
_LONGEST_DATA_URL = 256 * 1024


def _wrong_image(url: str) -> str:
    if url.startswith("http://127.0.0.1:") and "/files/" in url:
        return ""  # One of those that were uploaded; whether it is there is looked up when it is read.
    if len(url) > _LONGEST_DATA_URL:
        return "is a data URL of more than 256 KiB"
    return "" if image_size(bytes_of_data_url(url)) else "is no image in a data URL; doubles download nothing"


_FIELDS: Mapping[str, Field] = {
    "redux_image": Field(required=True, check=_wrong_image),
    "num_outputs": Field(int, minimum=1, maximum=4),
    "aspect_ratio": Field(choices=tuple(_SIZES)),
    "megapixels": Field(choices=("1", "0.25")),
    "num_inference_steps": Field(int, minimum=1, maximum=50),
    "guidance": Field(float, minimum=0, maximum=10),
    "seed": Field(int),
    "output_format": Field(choices=("webp", "jpg", "png")),
    "output_quality": Field(int, minimum=0, maximum=100),
    "disable_safety_checker": Field(bool),
}


def _wrong_images(urls: list[str]) -> str:
    return next(filter(None, map(_wrong_image, urls)), "")


_OTHERS: Mapping[str, Field] = {name: _FIELDS[name] for name in ("seed", "output_format", "output_quality")}
_PROMPT = {"prompt": Field(required=True, minimum=1)}
_RATIOS_OF_EDITS = (*_SIZES, "match_input_image")
_MODELS: Mapping[str, Mapping[str, Field]] = {
    "black-forest-labs/flux-dev": {
        **{name: field for name, field in _FIELDS.items() if name != "redux_image"},
        **_PROMPT,
        "image": Field(check=_wrong_image),
        "prompt_strength": Field(float, minimum=0, maximum=1),
    },
    "black-forest-labs/flux-kontext-pro": {
        **_OTHERS,
        **_PROMPT,
        "input_image": Field(check=_wrong_image),
        "aspect_ratio": Field(choices=_RATIOS_OF_EDITS),
        "output_format": Field(choices=("jpg", "png")),
    },
    "google/nano-banana": {
        **_PROMPT,
        "image_input": Field(list, check=_wrong_images),
        "aspect_ratio": Field(choices=_RATIOS_OF_EDITS),
        "output_format": Field(choices=("jpg", "png")),
    },
    "black-forest-labs/flux-redux-dev": _FIELDS,
    "black-forest-labs/flux-redux-schnell": {
        **{name: field for name, field in _FIELDS.items() if name != "guidance"},
        "num_inference_steps": Field(int, minimum=1, maximum=4),
    },
}

_WORDS: Mapping[int, tuple[str, str]] = {
    401: ("Unauthenticated", "You did not pass a valid authentication token"),
    402: ("Insufficient credit", "You have insufficient credit to run this model."),
    403: ("Forbidden", "You do not have permission to perform this action."),
    404: ("Not found", "The requested resource could not be found."),
    422: ("Input validation failed", "The input is not valid."),
    500: ("Internal server error", "An internal error occurred."),
    503: ("Service unavailable", "The service is temporarily unavailable."),
}
_NSFW = "All generated images contained NSFW content. Try running it again with a different prompt."


_IMAGE_FIELDS = ("redux_image", "image", "input_image", "image_input")


def _error(status: int, message: str) -> Reply:
    if status == 429:
        return Reply(status, {"detail": message or "Request was throttled."})
    title, usual = _WORDS.get(status, ("Bad request", "The request is not valid."))
    body = {"title": title, "detail": message or usual, "status": status}
    return Reply(status, body, media_type="application/problem+json")


def _checked(call: Call) -> tuple[Mapping[str, Any], str]:
    """The input, found good, and the model's name."""
    body = call.request.json
    if call.request.media_type != "application/json" or not isinstance(body, dict):
        raise RefusedError(_error(400, "The request body is not a JSON object."))
    model = call.params.get("model", "")
    envelope = {"input": Field(dict, required=True)}
    if not model:
        # A fixed version; which model it is of does not matter here.
        envelope["version"] = Field(required=True, minimum=1)
        model = "black-forest-labs/flux-redux-dev"
    if model not in _MODELS:
        raise RefusedError(_error(404, ""))
    problem = first_problem(body, envelope) or first_problem(body["input"], _MODELS[model])
    if problem:
        invalid = [{"type": problem.reason, "field": f"input.{problem.field}", "description": problem.message}]
        reply = _error(422, f"- input.{problem.field}: {problem.message}\n")
        raise RefusedError(
            Reply(422, {**reply.json, "invalid_fields": invalid}, media_type="application/problem+json"),
        )
    return body["input"], model


async def _create(call: Call) -> Reply:
    fields, model = _checked(call)
    prefer = call.request.headers.get("prefer")
    if prefer is not None and not re.fullmatch(r"wait(=([1-9]|[1-5][0-9]|60))?", prefer):
        raise RefusedError(_error(400, "Prefer must be wait, or wait=N with N from 1 to 60."))
    identifier = call.new_id().replace("-", "")[:26]
    version = "/v1" if call.request.path.startswith("/v1/") else ""
    url = f"{call.base_url}{version}/predictions/{identifier}"
    prediction = {
        "id": identifier,
        "model": model,
        "version": "hidden",
        "input": {name: value for name, value in fields.items() if name not in _IMAGE_FIELDS},
        "logs": "",
        "output": None,
        "data_removed": False,
        "error": None,
        "created_at": "2026-11-22T10:00:00.000Z",
        "urls": {"cancel": f"{url}/cancel", "get": url},
        **await _outcome(call, fields),
    }
    call.jobs[identifier] = Job(identifier, polls_left=0 if prefer else 2, answer=prediction)
    headers = {"preference-applied": prefer} if prefer else {}
    return Reply(201, _visible(call.jobs[identifier]), headers=headers)


async def _outcome(call: Call, fields: Mapping[str, Any]) -> dict[str, Any]:
    if call.failure is Failure.REFUSAL:
        return {"status": "failed", "error": _NSFW, "output": None}
    count = fields.get("num_outputs", 1)
    logs = ""
    if call.failure is Failure.PARTIAL_REFUSAL and count > 1:
        # The models do it like this: they say so in the log, and hand over the rest.
        count, logs = count - 1, "NSFW content detected in image 0"
    if call.failure is Failure.EMPTY_RESULT:
        count = 0
    source = _source(call, fields)
    ratio = fields.get("aspect_ratio", "1:1")
    width, height = (image_size(source) or (1024, 1024)) if ratio == "match_input_image" else _SIZES[ratio]
    scale = 2 if fields.get("megapixels") == "0.25" else 1
    file_format = {"jpg": "jpeg"}.get(fields.get("output_format", "webp"), fields.get("output_format", "webp"))
    seed = fields.get("seed", int(call.new_id()[:8], 16))
    size = (width // scale, height // scale)
    files = await make_variations(source, count, size=size, file_format=file_format, seed=seed)
    output = [call.publish(file, f"image/{file_format}") for file in files]
    return {"status": "succeeded", "output": output, "logs": logs, "metrics": {"predict_time": 0.1}}


def _source(call: Call, fields: Mapping[str, Any]) -> bytes:
    """The picture to vary, wherever the model takes it: inline, or as a file that was uploaded before."""
    given = next((fields[name] for name in _IMAGE_FIELDS if name in fields), "")
    url = given[0] if isinstance(given, list) else given
    file = call.jobs.get(url.rpartition("/")[2])
    data = file.answer if file else bytes_of_data_url(url)
    if not image_size(data):
        raise RefusedError(_error(422, "- input: the image cannot be read\n"))
    return bytes(data)


async def _upload(call: Call) -> Reply:
    form = call.request.form
    if form is None or [file.name for file in form.files] != ["content"]:
        raise RefusedError(_error(400, "Missing content"))
    identifier = call.new_id().replace("-", "")
    call.jobs[identifier] = Job(identifier, polls_left=0, answer=form.files[0].data)
    version = "/v1" if call.request.path.startswith("/v1/") else ""
    return Reply(
        201,
        {
            "id": identifier,
            "name": form.files[0].filename,
            "content_type": form.files[0].media_type,
            "size": len(form.files[0].data),
            "etag": "0" * 32,
            "checksums": {"sha256": "0" * 64},
            "metadata": {},
            "created_at": "2026-11-22T10:00:00.000Z",
            "expires_at": "2026-11-23T10:00:00.000Z",
            "urls": {"get": f"{call.base_url}{version}/files/{identifier}"},
        },
    )


def _visible(job: Job) -> dict[str, Any]:
    """The prediction as it stands: not finished while there are polls left."""
    if job.cancelled:
        return {**job.answer, "status": "canceled", "output": None}
    if job.polls_left:
        return {**job.answer, "status": "starting" if job.polls_left > 1 else "processing", "output": None}
    return dict(job.answer)


def _job(call: Call) -> Job:
    job = call.jobs.get(call.params["id"])
    if job is None:
        raise RefusedError(_error(404, ""))
    return job


async def _get(call: Call) -> Reply:
    job = _job(call)
    job.polls_left = max(0, job.polls_left - 1)
    return Reply(json=_visible(job))


async def _cancel(call: Call) -> Reply:
    job = _job(call)
    job.cancelled = job.polls_left > 0
    return Reply(json=_visible(job))


# With and without the version: our base URL ends with it, while the vendor's own client adds it to each path.
_OPERATIONS = tuple(
    operation
    for version in ("", "/v1")
    for operation in (
        Operation("POST", f"{version}/files", _upload),
        Operation("POST", f"{version}/predictions", _create),
        Operation("GET", f"{version}/predictions/{{id}}", _get, Purpose.POLL),
        Operation("POST", f"{version}/predictions/{{id}}/cancel", _cancel, Purpose.CANCEL),
        Operation("POST", f"{version}/models/{{model:path}}/predictions", _create),
    )
)

DOUBLES = (
    VendorDouble(
        name="replicate",
        operations=_OPERATIONS,
        authenticate=key_in_header("Authorization", "Bearer "),
        error=_error,
        model="black-forest-labs/flux-redux-dev",
    ),
)
