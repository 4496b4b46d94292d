"""Gemini API and Vertex AI."""

from __future__ import annotations

import json
from pathlib import Path

from provider_case import SECRET, SOURCE, ProviderCase
from vendor_answers import answers

from service.core.calls import ProviderCall
from service.core.values import Size
from service.providers.http import HttpResponse

_ANSWERS = answers("gemini")
_FIXTURES = Path(__file__).parents[2] / "fixtures" / "gemini"
_RECORDED = json.loads((_FIXTURES / "vertex_recorded.json").read_text(encoding="utf-8"))["response"]

_EMPTIES = (
    (_ANSWERS["no_image"],),
    (_ANSWERS["only_words"],),
    (_ANSWERS["no_candidates"],),
)
_REFUSALS = ((_ANSWERS["prompt_blocked"],), (_ANSWERS["image_refused"],))

CASES = (
    ProviderCase(
        name="gemini",
        translator="gemini",
        provider="gemini",
        call=ProviderCall("gemini-3.1-flash-image", SOURCE, size=Size(1024, 1024), prompt="Vary it."),
        success=(_ANSWERS["success"],),
        auth_headers={"x-goog-api-key": SECRET},
        unauthorized=_ANSWERS["bad_key"],
        rate_limited=_ANSWERS["rate_limited"],
        rate_limited_with_hint=(_ANSWERS["rate_limited_with_hint"], 34.0),
        server_error=_ANSWERS["overloaded"],
        out_of_credit=_ANSWERS["no_billing"],
        model_gone=_ANSWERS["unknown_model"],
        invalid=_ANSWERS["invalid"],
        refusals=_REFUSALS,
        empties=_EMPTIES,
    ),
    ProviderCase(
        name="vertex",
        translator="vertex",
        provider="vertex",
        call=ProviderCall("gemini-2.5-flash-image", SOURCE, prompt="Vary it."),
        success=(HttpResponse(_RECORDED["status"], _RECORDED["headers"], json.dumps(_RECORDED["body"]).encode()),),
        options={"project": "a-project"},
        auth_headers={"authorization": f"Bearer {SECRET}"},
        unauthorized=_ANSWERS["bad_token"],
        rate_limited=_ANSWERS["rate_limited"],
        rate_limited_with_hint=(_ANSWERS["rate_limited_with_hint"], 34.0),
        server_error=_ANSWERS["overloaded"],
        model_gone=_ANSWERS["unknown_model"],
        invalid=_ANSWERS["invalid"],
        refusals=_REFUSALS,
        empties=_EMPTIES,
    ),
)
