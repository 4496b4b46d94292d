"""xAI's edits."""

from __future__ import annotations

from provider_case import SECRET, SOURCE, ProviderCase
from vendor_answers import answers

from service.core.calls import ProviderCall

_ANSWERS = answers("xai")

CASES = (
    ProviderCase(
        name="xai",
        translator="xai_edits",
        provider="xai",
        call=ProviderCall("grok-imagine-image", SOURCE, n=2, prompt="Vary it."),
        success=(_ANSWERS["success"],),
        auth_headers={"authorization": f"Bearer {SECRET}"},
        unauthorized=_ANSWERS["unauthorized"],
        rate_limited=_ANSWERS["rate_limited"],
        server_error=_ANSWERS["server_error"],
        out_of_credit=_ANSWERS["forbidden"],
        model_gone=_ANSWERS["unknown_model"],
        invalid=_ANSWERS["invalid"],
        refused=_ANSWERS["refused"],
        refusals=((_ANSWERS["all_withheld"],),),
        partial=(_ANSWERS["one_withheld"],),
        empties=((_ANSWERS["empty_list"],), (_ANSWERS["no_list"],), (_ANSWERS["no_picture"],)),
    ),
)
