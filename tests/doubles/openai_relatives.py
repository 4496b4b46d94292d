"""Vendors that answer in OpenAI's shape but are asked otherwise: OpenRouter, BytePlus, Together, Azure Foundry."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.doubles.framework import Call, Failure, Operation, RefusedError, Reply, VendorDouble, key_in_header
from tests.doubles.json_api import base64_of, checked_json, pictures, wrong_base64, wrong_data_url
from tests.doubles.openai import checked_form, openai_error
from tests.doubles.strict import Field, bytes_of_base64, bytes_of_data_url

_FORMATS = Field(choices=("png", "jpeg", "webp"))
_BEARER = key_in_header("Authorization", "Bearer ")


def _invalid(message: str) -> Reply:
    return openai_error(400, message)


def _refused(code: str, message: str) -> RefusedError:
    return RefusedError(Reply(400, {"error": {"code": code, "message": message, "type": "BadRequest", "param": ""}}))


async def _answer(
    call: Call, source: bytes, values: Mapping[str, Any], size: tuple[int, int] | None, **usage: Any
) -> Reply:
    files = await pictures(
        call,
        source,
        values.get("n", 1),
        size=size,
        file_format=values.get("output_format", "png"),
        seed=values.get("seed"),
    )
    data = [{"b64_json": base64_of(file)} for file in files]
    if call.failure is Failure.EXPIRED_URL:
        data = [{"url": call.publish(file, "image/png")} for file in files]
    return Reply(json={"created": 1790000000, "data": data, **usage})


def _wrong_references(references: list[Any]) -> str:
    for each in references:
        url = each.get("image_url", {}).get("url", "") if isinstance(each, dict) else ""
        if not isinstance(each, dict) or each.get("type") != "image_url" or wrong_data_url(url):
            return "holds something that is no image_url"
    return ""


_OPENROUTER: Mapping[str, Field] = {
    "model": Field(required=True),
    "prompt": Field(required=True, minimum=1),
    "input_references": Field(list, minimum=1, maximum=16, check=_wrong_references),
    "n": Field(int, minimum=1, maximum=1),
    "size": Field(),
    "aspect_ratio": Field(choices=("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "auto")),
    "resolution": Field(choices=("512", "1K", "2K", "4K")),
    "quality": Field(choices=("auto", "low", "medium", "high", "xhigh", "max")),
    "background": Field(choices=("auto", "transparent", "opaque")),
    "output_format": _FORMATS,
    "output_compression": Field(int, minimum=0, maximum=100),
    "seed": Field(int),
    "user": Field(),
}


_OPENROUTER_USAGE = {"prompt_tokens": 200, "completion_tokens": 1200, "total_tokens": 1400, "cost": 0.04}


async def _openrouter(call: Call) -> Reply:
    values = checked_json(call, call.request.json, _OPENROUTER, _invalid)
    if "size" in values and "aspect_ratio" in values:
        raise RefusedError(_invalid("Give either size or aspect_ratio."))
    if call.failure is Failure.REFUSAL:
        raise _refused("content_policy_violation", "The request was flagged by moderation.")
    source = bytes_of_data_url(values["input_references"][0]["image_url"]["url"])
    return await _answer(call, source, values, None, usage=_OPENROUTER_USAGE)


def _seedream_size(value: str) -> str:
    return "" if re.fullmatch(r"[124]K|\d{3,4}x\d{3,4}", value) else "is no size"


_SEEDREAM: Mapping[str, Field] = {
    "model": Field(required=True, choices=("seedream-5-0-260128",)),
    "prompt": Field(required=True, minimum=1),
    "image": Field(required=True, check=wrong_data_url),
    "size": Field(check=_seedream_size),
    "response_format": Field(choices=("url", "b64_json")),
    "seed": Field(int),
    "watermark": Field(bool),
    "sequential_image_generation": Field(choices=("disabled", "auto")),
    "output_format": Field(choices=("png", "jpeg")),
}


async def _seedream(call: Call) -> Reply:
    values = checked_json(call, call.request.json, _SEEDREAM, _invalid)
    if call.failure is Failure.REFUSAL:
        raise _refused("InputImageSensitiveContentDetected", "The input image may contain sensitive information.")
    width, _, height = values.get("size", "1024x1024").partition("x")
    size = (int(width), int(height)) if height else (1024, 1024)
    source = bytes_of_data_url(values["image"])
    return await _answer(
        call, source, values, size, usage={"generated_images": 1, "output_tokens": 4096, "total_tokens": 4096}
    )


_KONTEXT: Mapping[str, Field] = {
    "model": Field(required=True, choices=("black-forest-labs/FLUX.1-kontext-pro",)),
    "prompt": Field(required=True, minimum=1),
    "image_url": Field(required=True, check=wrong_data_url),
    "width": Field(int, minimum=64, maximum=1792),
    "height": Field(int, minimum=64, maximum=1792),
    "n": Field(int, minimum=1, maximum=4),
    "seed": Field(int),
    "steps": Field(int, minimum=1, maximum=50),
    "output_format": Field(choices=("png", "jpeg")),
    "response_format": Field(choices=("base64", "url")),
}


async def _together(call: Call) -> Reply:
    values = checked_json(call, call.request.json, _KONTEXT, _invalid)
    if call.failure is Failure.REFUSAL:
        raise _refused("content_policy_violation", "NSFW content detected.")
    size = (values.get("width", 1024), values.get("height", 1024))
    return await _answer(call, bytes_of_data_url(values["image_url"]), values, size)


_FLUX_2: Mapping[str, Field] = {
    "model": Field(required=True, choices=("flux.2-pro",)),
    "prompt": Field(required=True, minimum=1),
    "input_image": Field(required=True, check=wrong_base64),
    "width": Field(int, minimum=64, maximum=4096),
    "height": Field(int, minimum=64, maximum=4096),
    "seed": Field(int),
    "output_format": Field(choices=("png", "jpeg")),
}
_MAI: Mapping[str, Field] = {
    "model": Field(required=True, choices=("MAI-Image-2.6",)),
    "prompt": Field(required=True, minimum=1),
    "n": Field(int, minimum=1, maximum=1),
}


def _versioned(handler: Callable[[Call], Any]) -> Callable[[Call], Any]:
    async def checked(call: Call) -> Reply:
        if call.request.query.get("api-version") != "preview":
            raise RefusedError(_invalid("api-version is missing"))
        if call.failure is Failure.REFUSAL:
            raise _refused("content_filter", "The request was filtered.")
        reply: Reply = await handler(call)
        return reply

    return checked


@_versioned
async def _foundry_flux(call: Call) -> Reply:
    values = checked_json(call, call.request.json, _FLUX_2, _invalid)
    size = (values.get("width", 1024), values.get("height", 1024))
    return await _answer(call, bytes_of_base64(values["input_image"]), values, size)


@_versioned
async def _foundry_mai(call: Call) -> Reply:
    values, image = checked_form(call, _MAI)
    return await _answer(call, image.data, values, None)


def _vendor(name: str, model: str, *operations: Operation, authenticate: Any = _BEARER) -> VendorDouble:
    return VendorDouble(name, operations, authenticate, lambda status, message: openai_error(status, message), model)


DOUBLES = (
    _vendor("openrouter", "openai/gpt-5-image", Operation("POST", "/images", _openrouter)),
    _vendor("byteplus", "seedream-5-0-260128", Operation("POST", "/images/generations", _seedream)),
    _vendor("together", "black-forest-labs/FLUX.1-kontext-pro", Operation("POST", "/images/generations", _together)),
    _vendor(
        "azure-foundry",
        "flux.2-pro",
        Operation("POST", "/providers/blackforestlabs/v1/flux-2-pro", _foundry_flux),
        Operation("POST", "/mai/v1/images/edits", _foundry_mai),
        authenticate=key_in_header("api-key"),
    ),
)
