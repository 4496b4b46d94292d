"""OpenAI's edits, servers compatible with it, Azure, and variations in OpenAI's shape."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from provider_case import SECRET, SOURCE, ProviderCase
from vendor_answers import answers

from service.core.calls import ProviderCall
from service.core.values import Size
from service.providers.http import HttpResponse

_OPENAI = answers("openai")
_AZURE = answers("azure")
_DEEPINFRA = answers("deepinfra")
_FIXTURES = Path(__file__).parents[2] / "fixtures" / "openai"
_NO_IMAGES = ("empty_list", "no_list", "null_list", "no_picture", "bad_base64", "odd_url")


def _recorded(name: str) -> HttpResponse:
    entry = json.loads((_FIXTURES / name).read_text(encoding="utf-8-sig"))["Entries"][0]
    headers = {header.lower(): value for header, value in entry["ResponseHeaders"].items() if header == "Content-Type"}
    return HttpResponse(entry["StatusCode"], headers, json.dumps(entry["ResponseBody"]).encode())


_EDITS = ProviderCase(
    name="openai",
    translator="openai_edits",
    provider="openai",
    call=ProviderCall("gpt-image-2", SOURCE, n=2, size=Size(1024, 1024), prompt="Vary it."),
    success=(_recorded("image_edits_n2.json"),),
    auth_headers={"authorization": f"Bearer {SECRET}"},
    unauthorized=_recorded("invalid_api_key.json"),
    rate_limited=_OPENAI["rate_limited"],
    server_error=_OPENAI["server_error"],
    out_of_credit=_OPENAI["insufficient_quota"],
    model_gone=_OPENAI["unknown_model"],
    invalid=HttpResponse(400, {}, (_FIXTURES / "unknown_parameter_error.json").read_bytes()),
    refused=_OPENAI["moderation_blocked"],
    partial=(_OPENAI["one_unusable"],),
    empties=tuple((_OPENAI[name],) for name in _NO_IMAGES),
)

CASES = (
    _EDITS,
    dataclasses.replace(
        _EDITS,
        name="vllm-omni",
        provider="vllm-omni",
        call=ProviderCall("Qwen/Qwen-Image-Edit-2511", SOURCE, n=2, prompt="Vary it.", seed=7),
        success=(_OPENAI["by_url"],),
        invalid=_OPENAI["vllm_invalid"],
    ),
    dataclasses.replace(
        _EDITS, name="sdcpp", provider="sdcpp", invalid=_OPENAI["plain_error"], server_error=_OPENAI["sdcpp_error"]
    ),
    dataclasses.replace(_EDITS, name="aquiles", provider="aquiles", invalid=_OPENAI["fastapi_invalid"]),
    dataclasses.replace(
        _EDITS,
        name="azure",
        translator="azure_openai",
        provider="azure",
        success=(_AZURE["success"],),
        auth_headers={"api-key": SECRET},
        unauthorized=_AZURE["unauthorized"],
        rate_limited=_AZURE["rate_limited"],
        rate_limited_with_hint=(_AZURE["rate_limited_with_hint"], 17.0),
        server_error=_AZURE["server_error"],
        out_of_credit=_OPENAI["billing_limit"],
        model_gone=_AZURE["no_deployment"],
        invalid=_AZURE["invalid"],
        refused=_AZURE["content_filter"],
    ),
    dataclasses.replace(
        _EDITS,
        name="azure-v1",
        translator="azure_openai",
        provider="azure",
        options={"route": "v1", "auth": "bearer"},
        unauthorized=_AZURE["expired_token"],
        model_gone=_AZURE["not_found"],
        refused=_AZURE["inner_content_filter"],
    ),
    ProviderCase(
        name="deepinfra",
        translator="openai_variations",
        provider="deepinfra",
        call=ProviderCall("black-forest-labs/FLUX-1-Redux-dev", SOURCE, n=2, size=Size(1024, 1024)),
        success=(_DEEPINFRA["success"],),
        auth_headers={"authorization": f"Bearer {SECRET}"},
        unauthorized=_DEEPINFRA["unauthorized"],
        rate_limited=_DEEPINFRA["rate_limited"],
        server_error=_DEEPINFRA["server_error"],
        out_of_credit=_DEEPINFRA["out_of_credit"],
        model_gone=_DEEPINFRA["unknown_model"],
        invalid=_DEEPINFRA["invalid"],
        partial=(_OPENAI["one_unusable"],),
        empties=tuple((_DEEPINFRA[name],) for name in _NO_IMAGES),
    ),
    dataclasses.replace(
        _EDITS,
        name="gateway",
        translator="openai_variations",
        provider="gateway",
        call=ProviderCall("local/vary", SOURCE, n=2, prompt="Warmer.", strength=0.5, seed=7),
    ),
)
