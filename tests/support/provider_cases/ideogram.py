"""Ideogram's remix: the v1 API, and the v2 API when it is asked to answer later."""

from __future__ import annotations

from dataclasses import replace

from provider_case import SECRET, SOURCE, ProviderCase
from vendor_answers import answers

from service.core.calls import ProviderCall
from service.core.values import Size

_ANSWERS = answers("ideogram")

_V3 = ProviderCase(
    name="ideogram",
    translator="ideogram",
    provider="ideogram",
    call=ProviderCall("ideogram-v3", SOURCE, n=2, size=Size(1024, 1024), prompt="Vary it.", strength=0.2, seed=7),
    success=(_ANSWERS["success"],),
    auth_headers={"api-key": SECRET},
    unauthorized=_ANSWERS["unauthorized"],
    rate_limited=_ANSWERS["rate_limited"],
    server_error=_ANSWERS["internal"],
    out_of_credit=_ANSWERS["no_funds"],
    model_gone=_ANSWERS["unknown_model"],
    invalid=_ANSWERS["invalid"],
    refused=_ANSWERS["prompt_refused"],
    refusals=((_ANSWERS["unsafe"],),),
    partial=(_ANSWERS["partly_unsafe"],),
    empties=((_ANSWERS["empty"],),),
)

CASES = (
    _V3,
    replace(
        _V3,
        name="ideogram-v2",
        call=ProviderCall("auto", SOURCE, n=2, prompt="Vary it."),
        refusals=(),
        partial=None,
    ),
)
