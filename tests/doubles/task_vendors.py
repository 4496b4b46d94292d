"""Vendors that take a task in JSON: DashScope, WaveSpeed, Freepik and Runware."""

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
from tests.doubles.json_api import base64_of, checked_json, pictures, wrong_base64, wrong_data_url
from tests.doubles.strict import Field, bytes_of_base64, bytes_of_data_url

_BEARER = key_in_header("Authorization", "Bearer ")
_WORDS = {
    401: "The key is not valid.",
    402: "The balance is not sufficient.",
    403: "The key may not do this.",
    404: "The model does not exist.",
    429: "Too many requests.",
    503: "The service is not available.",
}


def _words(status: int, message: str) -> str:
    return message or _WORDS.get(status, "Something went wrong.")


# DashScope

_DASHSCOPE_CODES = {
    401: "InvalidApiKey",
    402: "Arrearage",
    403: "AccessDenied",
    404: "ModelNotFound",
    429: "Throttling.RateQuota",
    503: "ServiceUnavailable",
}


def _dashscope_error(status: int, message: str) -> Reply:
    code = _DASHSCOPE_CODES.get(status, "InvalidParameter" if status < 500 else "InternalError")
    return Reply(status, {"code": code, "message": _words(status, message), "request_id": "r-1"})


def _times(value: str) -> str:
    found = re.fullmatch(r"(\d{3,4})\*(\d{3,4})", value)
    return "" if found and all(64 <= int(side) <= 2048 for side in found.groups()) else "is no size"


_DASHSCOPE: Mapping[str, Field] = {
    "model": Field(required=True, choices=("qwen-image-3.0", "qwen-image-2.0")),
    "input": Field(dict, required=True),
    "parameters": Field(dict),
}
_PARAMETERS: Mapping[str, Field] = {
    "n": Field(int, minimum=1, maximum=1),
    "size": Field(check=_times),
    "seed": Field(int, minimum=0, maximum=2**31 - 1),
    "negative_prompt": Field(),
    "prompt_extend": Field(bool),
    "watermark": Field(bool),
}


async def _dashscope(call: Call) -> Reply:
    def invalid(message: str) -> Reply:
        return _dashscope_error(400, message)

    values = checked_json(call, call.request.json, _DASHSCOPE, invalid)
    parameters = checked_json(call, values.get("parameters", {}), _PARAMETERS, invalid)
    content = values["input"]["messages"][0]["content"]
    if wrong_data_url(content[0]["image"]) or not content[1]["text"]:
        raise RefusedError(invalid("A picture and a text are needed."))
    if call.failure is Failure.REFUSAL:
        # With a 200, as the vendor does for some.
        return Reply(json={"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."})
    size = tuple(int(side) for side in parameters.get("size", "1024*1024").split("*"))
    files = await pictures(
        call, bytes_of_data_url(content[0]["image"]), 1, size=(size[0], size[1]), seed=parameters.get("seed")
    )
    parts = [{"image": call.publish(file, "image/png")} for file in files]
    choices = [{"finish_reason": "stop", "message": {"role": "assistant", "content": parts}}]
    return Reply(json={"output": {"choices": choices}, "usage": {"image_count": 1}, "request_id": "r-1"})


# WaveSpeed


def _wavespeed_error(status: int, message: str) -> Reply:
    return Reply(status, {"code": status, "message": _words(status, message), "data": {}})


_REDUX: Mapping[str, Field] = {
    "image": Field(required=True, check=wrong_data_url),
    "size": Field(check=_times),
    "num_images": Field(int, minimum=1, maximum=4),
    "seed": Field(int, minimum=-1),
    "num_inference_steps": Field(int, minimum=1, maximum=50),
    "guidance_scale": Field(float, minimum=0, maximum=20),
}


async def _wavespeed(call: Call) -> Reply:
    if call.params["model"] != "wavespeed-ai/flux-redux-dev":
        raise RefusedError(_wavespeed_error(404, ""))
    values = checked_json(call, call.request.json, _REDUX, lambda message: _wavespeed_error(400, message))
    size = tuple(int(side) for side in values.get("size", "1024*1024").split("*"))
    source, count = bytes_of_data_url(values["image"]), values.get("num_images", 1)
    files = await pictures(call, source, count, size=(size[0], size[1]), seed=values.get("seed"))
    outputs = [call.publish(file, "image/png") for file in files]
    answer: dict[str, Any] = {"status": "completed", "outputs": outputs, "error": ""}
    if call.failure is Failure.REFUSAL:
        answer = {"status": "failed", "outputs": [], "error": "Content flagged as potentially sensitive."}
    identifier = call.new_id()
    call.jobs[identifier] = Job(identifier, polls_left=2, answer=answer)
    return _prediction(identifier, {"status": "created", "outputs": []})


def _prediction(identifier: str, state: Mapping[str, Any]) -> Reply:
    return Reply(json={"code": 200, "message": "success", "data": {"id": identifier, **state}})


async def _wavespeed_result(call: Call) -> Reply:
    job = call.jobs.get(call.params["id"])
    if job is None:
        raise RefusedError(_wavespeed_error(404, ""))
    if job.polls_left:
        job.polls_left -= 1
        return _prediction(job.identifier, {"status": "processing", "outputs": []})
    return _prediction(job.identifier, job.answer)


# Freepik


def _freepik_error(status: int, message: str) -> Reply:
    return Reply(status, {"message": _words(status, message)})


_REIMAGINE: Mapping[str, Field] = {
    "image": Field(required=True, check=wrong_base64),
    "prompt": Field(),
    "imagination": Field(choices=("subtle", "vivid", "wild")),
    "aspect_ratio": Field(choices=("original", "square_1_1")),
    "webhook_url": Field(),
}


async def _reimagine(call: Call) -> Reply:
    values = checked_json(call, call.request.json, _REIMAGINE, lambda message: _freepik_error(400, message))
    if call.failure is Failure.REFUSAL:
        raise RefusedError(_freepik_error(400, "The image did not pass moderation."))
    files = await pictures(call, bytes_of_base64(values["image"]), 1, size=None)
    identifier = call.new_id()
    generated = [call.publish(file, "image/png") for file in files]
    call.jobs[identifier] = Job(identifier, polls_left=1, answer={"status": "COMPLETED", "generated": generated})
    return Reply(json={"data": {"task_id": identifier, "status": "CREATED", "generated": []}})


async def _reimagined(call: Call) -> Reply:
    job = call.jobs.get(call.params["id"])
    if job is None:
        raise RefusedError(_freepik_error(404, ""))
    if job.polls_left:
        job.polls_left -= 1
        return Reply(json={"data": {"task_id": job.identifier, "status": "IN_PROGRESS", "generated": []}})
    return Reply(json={"data": {"task_id": job.identifier, **job.answer}})


# Runware

_RUNWARE_CODES = {401: "invalidApiKey", 402: "insufficientCredits", 403: "unauthorized", 404: "modelNotFound"}


def _runware_error(status: int, message: str) -> Reply:
    code = _RUNWARE_CODES.get(status, "rateLimitExceeded" if status == 429 else "invalidParameter")
    return Reply(status, {"errors": [{"code": code, "message": _words(status, message)}]})


_TASK: Mapping[str, Field] = {
    "taskType": Field(required=True, choices=("imageInference",)),
    "taskUUID": Field(required=True, check=lambda value: "" if re.fullmatch(r"[0-9a-f-]{36}", value) else "is no UUID"),
    "model": Field(required=True),
    "positivePrompt": Field(required=True, minimum=2),
    "seedImage": Field(check=wrong_data_url),
    "referenceImages": Field(list),
    "strength": Field(float, minimum=0, maximum=1),
    "width": Field(int, required=True, minimum=128, maximum=2048),
    "height": Field(int, required=True, minimum=128, maximum=2048),
    "numberResults": Field(int, minimum=1, maximum=20),
    "outputType": Field(choices=("URL", "base64Data", "dataURI")),
    "outputFormat": Field(choices=("PNG", "JPG", "WEBP")),
    "seed": Field(int, minimum=1),
    "includeCost": Field(bool),
    "steps": Field(int, minimum=1, maximum=100),
    "CFGScale": Field(float),
}


async def _runware(call: Call) -> Reply:
    tasks = call.request.json
    task = tasks[0] if isinstance(tasks, list) and len(tasks) == 1 else None
    values = checked_json(call, task, _TASK, lambda message: _runware_error(400, message))
    if call.failure is Failure.REFUSAL:
        raise RefusedError(Reply(400, {"errors": [{"code": "contentModerated", "message": "It was moderated."}]}))
    file_format = {"JPG": "jpeg"}.get(values.get("outputFormat", "JPG"), values.get("outputFormat", "").lower())
    files = await pictures(
        call,
        bytes_of_data_url(values["seedImage"]),
        values.get("numberResults", 1),
        size=(values["width"], values["height"]),
        file_format=file_format,
        seed=values.get("seed"),
    )
    told = {"taskType": "imageInference", "taskUUID": values["taskUUID"], "cost": 0.0019}
    data = [{**told, "imageUUID": call.new_id(), "seed": 7 + at, **_delivery(call, f)} for at, f in enumerate(files)]
    return Reply(json={"data": data})


def _delivery(call: Call, file: bytes) -> dict[str, str]:
    if call.failure is Failure.EXPIRED_URL:
        return {"imageURL": call.publish(file, "image/png")}
    return {"imageBase64Data": base64_of(file)}


DOUBLES = (
    VendorDouble(
        name="dashscope",
        operations=(Operation("POST", "/services/aigc/multimodal-generation/generation", _dashscope),),
        authenticate=_BEARER,
        error=_dashscope_error,
        model="qwen-image-3.0",
    ),
    VendorDouble(
        name="wavespeed",
        operations=(
            Operation("GET", "/predictions/{id}/result", _wavespeed_result, Purpose.POLL),
            Operation("POST", "/{model:path}", _wavespeed),
        ),
        authenticate=_BEARER,
        error=_wavespeed_error,
        model="wavespeed-ai/flux-redux-dev",
    ),
    VendorDouble(
        name="freepik",
        operations=(
            Operation("GET", "/ai/beta/text-to-image/reimagine-flux/{id}", _reimagined, Purpose.POLL),
            Operation("POST", "/ai/beta/text-to-image/reimagine-flux", _reimagine),
        ),
        authenticate=key_in_header("x-freepik-api-key"),
        error=_freepik_error,
        model="reimagine-flux",
    ),
    VendorDouble(
        name="runware",
        operations=(Operation("POST", "/v1", _runware),),
        authenticate=_BEARER,
        error=_runware_error,
        model="runware:101@1",
    ),
)
