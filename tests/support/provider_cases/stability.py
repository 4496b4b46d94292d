"""Stability AI's v2beta API."""

from __future__ import annotations

from provider_case import SECRET, SOURCE, ProviderCase
from vendor_answers import answers

from service.core.calls import ProviderCall
from service.core.values import ImageFormat

_ANSWERS = answers("stability")

CASES = (
    ProviderCase(
        name="stability",
        translator="stability",
        provider="stability",
        call=ProviderCall("sd3.5-large", SOURCE, prompt="Vary it.", seed=7, output_format=ImageFormat.PNG),
        success=(_ANSWERS["success"],),
        auth_headers={"authorization": f"Bearer {SECRET}"},
        unauthorized=_ANSWERS["unauthorized"],
        rate_limited=_ANSWERS["rate_limited"],
        rate_limited_with_hint=(_ANSWERS["rate_limited_with_hint"], 60.0),
        server_error=_ANSWERS["internal"],
        out_of_credit=_ANSWERS["no_credits"],
        model_gone=_ANSWERS["unknown_path"],
        invalid=_ANSWERS["invalid"],
        refused=_ANSWERS["moderated"],
        refusals=((_ANSWERS["filtered"],),),
        empties=((_ANSWERS["no_image"],),),
    ),
)
