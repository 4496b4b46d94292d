"""Vendors of which no answer is recorded: theirs are composed from their documentation and their clients' code."""

from __future__ import annotations

from dataclasses import replace

from provider_case import RESULTS_BASE64, SECRET, SOURCE, Conversation, ProviderCase, answer
from vendor_answers import answers

from service.core.calls import ProviderCall
from service.core.values import Size
from service.providers.http import HttpResponse

_OPENAI = answers("openai")
_BEARER = {"authorization": f"Bearer {SECRET}"}
_ONE = answer({"created": 1, "data": [{"b64_json": RESULTS_BASE64[0], "media_type": "image/png"}]})


def _openai_shaped(translator: str, provider: str, call: ProviderCall, **differs: object) -> ProviderCase:
    """A vendor that answers and complains in OpenAI's shape."""
    case = ProviderCase(
        name=provider,
        translator=translator,
        provider=provider,
        call=call,
        success=(_ONE,),
        auth_headers=_BEARER,
        unauthorized=_OPENAI["rate_limited"],
        rate_limited=_OPENAI["rate_limited"],
        out_of_credit=_OPENAI["insufficient_quota"],
        model_gone=_OPENAI["unknown_model"],
        invalid=_OPENAI["plain_error"],
        refused=_OPENAI["moderation_blocked"],
        empties=tuple((_OPENAI[name],) for name in ("empty_list", "no_list", "null_list", "no_picture")),
    )
    wrong_key = answer({"error": {"message": "The key is not valid.", "code": 401}}, 401)
    return replace(case, unauthorized=wrong_key, **differs)  # type: ignore[arg-type]  # fields of the case


def _task(state: dict[str, object]) -> HttpResponse:
    return answer({"code": 200, "message": "success", "data": {"id": "p-1", **state}})


def _freepik(status: str, *generated: str) -> HttpResponse:
    return answer({"data": {"task_id": "t-1", "status": status, "generated": list(generated)}})


_CREATED = _task({"status": "created", "outputs": []})
_LINKS = ["https://files.test/1.png", "https://files.test/2.png"]
_SEEDREAM_REFUSAL = {"error": {"code": "InputImageSensitiveContentDetected", "message": "Not this one.", "type": "x"}}
_QWEN_REFUSAL: Conversation = (answer({"code": "DataInspectionFailed", "message": "It may be inappropriate."}),)
_RUNWARE = {"taskType": "imageInference", "taskUUID": "u", "seed": 7, "cost": 0.001}


def _runware(*entries: dict[str, object], **more: object) -> HttpResponse:
    return answer({"data": [{**_RUNWARE, **entry} for entry in entries], **more})


CASES = (
    _openai_shaped(
        "openrouter",
        "openrouter",
        ProviderCall("openai/gpt-5-image", SOURCE, prompt="Vary it."),
        success=(answer({"data": [{"b64_json": RESULTS_BASE64[0]}], "usage": {"total_tokens": 10, "cost": 0.04}}),),
    ),
    _openai_shaped(
        "byteplus",
        "byteplus",
        ProviderCall("seedream-5-0-260128", SOURCE, prompt="Vary it.", size=Size(1024, 1024), seed=7),
        refused=answer(_SEEDREAM_REFUSAL, 400),
    ),
    _openai_shaped(
        "together",
        "together",
        ProviderCall("black-forest-labs/FLUX.1-kontext-pro", SOURCE, prompt="Vary it.", size=Size(1024, 768)),
    ),
    _openai_shaped(
        "azure_foundry",
        "azure-foundry",
        ProviderCall("flux.2-pro", SOURCE, prompt="Vary it.", size=Size(1024, 768), seed=7),
        auth_headers={"api-key": SECRET},
    ),
    _openai_shaped(
        "azure_foundry",
        "azure-foundry",
        ProviderCall("MAI-Image-2.6", SOURCE, prompt="Vary it."),
        name="azure-foundry-mai",
        options={"auth": "bearer"},
    ),
    ProviderCase(
        name="dashscope",
        translator="dashscope",
        provider="dashscope",
        call=ProviderCall("qwen-image-3.0", SOURCE, prompt="Vary it.", size=Size(1024, 1024), seed=7),
        success=(answer({"output": {"choices": [{"message": {"content": [{"image": _LINKS[0]}]}}]}}),),
        auth_headers=_BEARER,
        unauthorized=answer({"code": "InvalidApiKey", "message": "Invalid API-key provided."}, 401),
        rate_limited=answer({"code": "Throttling.RateQuota", "message": "Requests rate limit exceeded."}, 429),
        out_of_credit=answer({"code": "Arrearage", "message": "Access denied."}, 400),
        model_gone=answer({"code": "ModelNotFound", "message": "Model not exist."}, 400),
        invalid=answer({"code": "InvalidParameter", "message": "size is wrong."}, 400),
        refused=answer({"code": "DataInspectionFailed", "message": "It may be inappropriate."}, 400),
        refusals=(_QWEN_REFUSAL,),
        empties=((answer({"output": {"choices": []}}),), (answer({"code": "Unheard.Of", "message": "?"}),)),
    ),
    ProviderCase(
        name="wavespeed",
        translator="wavespeed",
        provider="wavespeed",
        call=ProviderCall("wavespeed-ai/flux-redux-dev", SOURCE, n=2, size=Size(1024, 768), seed=7),
        success=(_CREATED, _task({"status": "processing"}), _task({"status": "completed", "outputs": _LINKS})),
        auth_headers=_BEARER,
        unauthorized=answer({"code": 401, "message": "Unauthorized"}, 401),
        rate_limited=answer({"code": 429, "message": "Too many requests"}, 429),
        refused=answer({"code": 400, "message": "Content flagged as sensitive."}, 400),
        refusals=((_CREATED, _task({"status": "failed", "error": "Content flagged as potentially sensitive."})),),
        partial=(_CREATED, _task({"status": "completed", "outputs": _LINKS, "has_nsfw_contents": [True, False]})),
        empties=((_CREATED, _task({"status": "completed", "outputs": []})),),
    ),
    ProviderCase(
        name="freepik",
        translator="freepik",
        provider="freepik",
        call=ProviderCall("reimagine-flux", SOURCE, strength=0.5),
        success=(_freepik("CREATED"), _freepik("IN_PROGRESS"), _freepik("COMPLETED", _LINKS[0])),
        auth_headers={"x-freepik-api-key": SECRET},
        unauthorized=answer({"message": "Invalid API key"}, 401),
        rate_limited=answer({"message": "Too many requests"}, 429),
        refused=answer({"message": "The image did not pass moderation."}, 400),
        empties=((_freepik("COMPLETED"),),),
    ),
    ProviderCase(
        name="runware",
        translator="runware",
        provider="runware",
        call=ProviderCall("runware:101@1", SOURCE, n=2, prompt="Vary it.", size=Size(1024, 768), strength=0.5, seed=7),
        success=(_runware({"imageBase64Data": RESULTS_BASE64[0]}, {"imageBase64Data": RESULTS_BASE64[1]}),),
        auth_headers=_BEARER,
        unauthorized=answer({"errors": [{"code": "invalidApiKey", "message": "Invalid API key."}]}, 401),
        rate_limited=answer({"errors": [{"code": "rateLimitExceeded", "message": "Slow down."}]}, 429),
        out_of_credit=answer({"errors": [{"code": "insufficientCredits", "message": "Top up."}]}, 400),
        model_gone=answer({"errors": [{"code": "invalidModel", "message": "No such model."}]}, 400),
        invalid=answer({"errors": [{"code": "invalidParameter", "message": "width is wrong."}]}, 400),
        refused=answer({"errors": [{"code": "contentModerated", "message": "It was moderated."}]}, 400),
        refusals=(
            (_runware({"NSFWContent": True}),),
            (_runware(errors=[{"code": "contentModerated", "message": "It was moderated."}]),),
        ),
        partial=(_runware({"imageBase64Data": RESULTS_BASE64[0]}, {"NSFWContent": True}),),
        empties=((_runware(),), (_runware({"imageBase64Data": ""}),)),
    ),
)
