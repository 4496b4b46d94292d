"""Recraft."""

from __future__ import annotations

from provider_case import SECRET, SOURCE, ProviderCase
from vendor_answers import answers

from service.core.calls import ProviderCall
from service.core.values import ImageFormat, Size

_ANSWERS = answers("recraft")

CASES = (
    ProviderCase(
        name="recraft",
        translator="recraft",
        provider="recraft",
        call=ProviderCall("variate", SOURCE, n=2, size=Size(1820, 1024), seed=7, output_format=ImageFormat.PNG),
        success=(_ANSWERS["result"],),
        auth_headers={"authorization": f"Bearer {SECRET}"},
        unauthorized=_ANSWERS["unauthorized"],
        rate_limited=_ANSWERS["rate_limited"],
        server_error=_ANSWERS["internal"],
        out_of_credit=_ANSWERS["out_of_credit"],
        model_gone=_ANSWERS["unknown_path"],
        invalid=_ANSWERS["invalid"],
        refused=_ANSWERS["refused"],
        empties=((_ANSWERS["no_data"],),),
    ),
)
