"""Replicate, finished within the first request and polled for."""

from __future__ import annotations

from dataclasses import replace

from provider_case import SECRET, SOURCE, ProviderCase
from vendor_answers import answers

from service.core.calls import ProviderCall
from service.core.values import ImageFormat, Size

_ANSWERS = answers("replicate")

_WAITED = ProviderCase(
    name="replicate",
    translator="replicate",
    provider="replicate",
    call=ProviderCall(
        "black-forest-labs/flux-redux-dev", SOURCE, n=2, size=Size(1344, 768), seed=7, output_format=ImageFormat.JPEG
    ),
    success=(_ANSWERS["succeeded"],),
    auth_headers={"authorization": f"Bearer {SECRET}"},
    unauthorized=_ANSWERS["unauthorized"],
    rate_limited=_ANSWERS["rate_limited"],
    rate_limited_with_hint=(_ANSWERS["rate_limited_with_hint"], 30.0),
    server_error=_ANSWERS["internal"],
    out_of_credit=_ANSWERS["out_of_credit"],
    model_gone=_ANSWERS["unknown_model"],
    invalid=_ANSWERS["invalid"],
    refusals=((_ANSWERS["refused"],), (_ANSWERS["refused_as_sensitive"],)),
    partial=(_ANSWERS["one_dropped"],),
    empties=((_ANSWERS["no_output"],),),
)

CASES = (
    _WAITED,
    replace(
        _WAITED,
        name="replicate-polled",
        options={"wait_s": "0"},
        success=(_ANSWERS["starting"], _ANSWERS["processing"], _ANSWERS["succeeded_later"]),
        refusals=((_ANSWERS["starting"], _ANSWERS["refused_later"]),),
        partial=(_ANSWERS["starting"], _ANSWERS["one_dropped"]),
        empties=((_ANSWERS["starting"], _ANSWERS["no_output"]),),
    ),
)
