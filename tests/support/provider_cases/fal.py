"""fal, through its queue and in one request."""

from __future__ import annotations

from dataclasses import replace

from provider_case import SECRET, SOURCE, ProviderCase
from vendor_answers import answers

from service.core.calls import ProviderCall
from service.core.values import ImageFormat, Size

_ANSWERS = answers("fal")
_QUEUE = (_ANSWERS["queued"], _ANSWERS["in_queue"], _ANSWERS["in_progress"], _ANSWERS["completed"])

_ONE_REQUEST = ProviderCase(
    name="fal",
    translator="fal",
    provider="fal",
    call=ProviderCall(
        "fal-ai/flux-1/dev/redux", SOURCE, n=2, size=Size(1024, 768), seed=7, output_format=ImageFormat.JPEG
    ),
    success=(_ANSWERS["result"],),
    auth_headers={"authorization": f"Key {SECRET}"},
    unauthorized=_ANSWERS["unauthorized"],
    rate_limited=_ANSWERS["rate_limited"],
    server_error=_ANSWERS["proxy_failed"],
    out_of_credit=_ANSWERS["locked"],
    model_gone=_ANSWERS["unknown_model"],
    invalid=_ANSWERS["invalid"],
    refused=_ANSWERS["refused"],
    refusals=((_ANSWERS["all_flagged"],),),
    partial=(_ANSWERS["one_flagged"],),
    empties=((_ANSWERS["no_images"],),),
)

CASES = (
    _ONE_REQUEST,
    replace(
        _ONE_REQUEST,
        name="fal-queue",
        success=(*_QUEUE, _ANSWERS["result"]),
        refusals=(
            (*_QUEUE, _ANSWERS["all_flagged"]),
            (_ANSWERS["queued"], _ANSWERS["completed_with_policy_error"]),
        ),
        partial=(*_QUEUE, _ANSWERS["one_flagged"]),
        empties=((*_QUEUE, _ANSWERS["no_images"]),),
    ),
)
