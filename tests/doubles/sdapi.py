"""The web UI's img2img, run with ``--api-auth``. It knows one checkpoint besides the loaded one."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from tests.doubles.framework import Call, Failure, Operation, Recorded, RefusedError, Reply, VendorDouble
from tests.doubles.images import make_variation
from tests.doubles.strict import Field, bytes_of_base64, first_problem, image_size

_CHECKPOINTS = ("dream.safetensors",)
_WORDS: Mapping[int, str] = {401: "Incorrect username or password", 404: "Not Found"}
_SIDE = Field(int, minimum=64, maximum=2048, check=lambda side: "must be a multiple of 8" if side % 8 else "")
_FIELDS: Mapping[str, Field] = {
    "init_images": Field(list, required=True, minimum=1),
    "prompt": Field(),
    "negative_prompt": Field(),
    "denoising_strength": Field(float, minimum=0, maximum=1),
    "seed": Field(int, minimum=-1),
    "batch_size": Field(int, minimum=1, maximum=8),
    "n_iter": Field(int, minimum=1, maximum=100),
    "width": _SIDE,
    "height": _SIDE,
    "steps": Field(int, minimum=1, maximum=150),
    "cfg_scale": Field(float, minimum=0),
    "sampler_name": Field(),
    "override_settings": Field(dict),
}


def _error(status: int, message: str) -> Reply:
    if status >= 500:
        words = message or "CUDA out of memory."
        return Reply(status, {"error": "OutOfMemoryError", "detail": "", "body": "", "errors": words})
    return Reply(status, {"detail": message or _WORDS.get(status, "Bad request")})


def _key(request: Recorded) -> str:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    return bytes_of_base64(encoded).decode("utf-8", "replace") if scheme == "Basic" else ""


async def _img2img(call: Call) -> Reply:
    values = call.request.json
    if not isinstance(values, dict):
        detail = [{"loc": ["body"], "msg": "value is not a valid dict", "type": "type_error.dict"}]
        raise RefusedError(Reply(422, {"detail": detail}))
    problem = first_problem(values, _FIELDS)
    if problem:
        detail = [{"loc": ["body", problem.field], "msg": problem.message, "type": f"{problem.reason}_error"}]
        raise RefusedError(Reply(422, {"detail": detail}))
    source = bytes_of_base64(str(values["init_images"][0]))
    if image_size(source) is None:
        raise RefusedError(_error(500, "Invalid encoded image"))
    checkpoint = values.get("override_settings", {}).get("sd_model_checkpoint", _CHECKPOINTS[0])
    if checkpoint not in _CHECKPOINTS:
        raise RefusedError(_error(404, f"Checkpoint {checkpoint} not found"))
    if call.failure is Failure.REFUSAL:
        # Safety checkers of such servers black the image out; this one says so.
        raise RefusedError(_error(400, "NSFW content detected"))
    first = 4000 + call.request.order if values.get("seed", -1) == -1 else values["seed"]
    seeds = [first + index for index in range(values.get("batch_size", 1) * values.get("n_iter", 1))]
    if call.failure is Failure.EMPTY_RESULT:
        seeds = []
    elif call.failure is Failure.PARTIAL_REFUSAL:
        seeds = seeds[:-1] or seeds
    size = values.get("width", 512), values.get("height", 512)
    images = [base64.b64encode(make_variation(source, size=size, seed=seed)).decode() for seed in seeds]
    info = json.dumps({"all_seeds": seeds, "index_of_first_image": 0})
    return Reply(json={"images": images, "parameters": {**values, "init_images": None}, "info": info})


DOUBLES = (
    VendorDouble(
        name="sdapi",
        operations=(Operation("POST", "/sdapi/v1/img2img", _img2img),),
        authenticate=_key,
        error=_error,
        model="default",
        keys=("double-user:key-one-of-sdapi", "double-user:key-two-of-sdapi"),
    ),
)
