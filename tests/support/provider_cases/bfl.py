"""Black Forest Labs."""

from __future__ import annotations

from provider_case import SECRET, SOURCE, ProviderCase
from vendor_answers import answers

from service.core.calls import ProviderCall
from service.core.values import ImageFormat, Size

_ANSWERS = answers("bfl")

CASES = (
    ProviderCase(
        name="bfl",
        translator="bfl",
        provider="bfl",
        call=ProviderCall(
            "flux-2-pro", SOURCE, size=Size(1024, 768), prompt="Vary it.", seed=7, output_format=ImageFormat.PNG
        ),
        success=(_ANSWERS["submitted"], _ANSWERS["pending"], _ANSWERS["ready"]),
        auth_headers={"x-key": SECRET},
        unauthorized=_ANSWERS["unauthorized"],
        rate_limited=_ANSWERS["rate_limited"],
        rate_limited_with_hint=(_ANSWERS["rate_limited_with_hint"], 5.0),
        server_error=_ANSWERS["internal"],
        out_of_credit=_ANSWERS["out_of_credit"],
        model_gone=_ANSWERS["unknown_model"],
        invalid=_ANSWERS["invalid"],
        refusals=(
            (_ANSWERS["submitted"], _ANSWERS["request_moderated"]),
            (_ANSWERS["submitted"], _ANSWERS["pending"], _ANSWERS["content_moderated"]),
        ),
        empties=((_ANSWERS["submitted"], _ANSWERS["ready_without_sample"]),),
    ),
)
