"""Amazon Bedrock with Stability AI's models, with both kinds of credential."""

from __future__ import annotations

from dataclasses import replace

from provider_case import SECRET, SOURCE, ProviderCase
from vendor_answers import answers

from service.core.calls import ProviderCall
from service.core.values import ImageFormat
from service.providers.base import Credential

_ANSWERS = answers("bedrock")

_API_KEY = ProviderCase(
    name="bedrock",
    translator="bedrock",
    provider="bedrock",
    call=ProviderCall(
        "stability.sd3-5-large-v1:0", SOURCE, prompt="", strength=0.4, seed=7, output_format=ImageFormat.PNG
    ),
    success=(_ANSWERS["success"],),
    auth_headers={"authorization": f"Bearer {SECRET}"},
    unauthorized=_ANSWERS["access_denied"],
    rate_limited=_ANSWERS["throttled"],
    server_error=_ANSWERS["internal"],
    out_of_credit=_ANSWERS["quota"],
    model_gone=_ANSWERS["retired_model"],
    invalid=_ANSWERS["invalid"],
    refusals=((_ANSWERS["prompt_refused"],), (_ANSWERS["output_refused"],)),
    empties=((_ANSWERS["no_images"],),),
)

CASES = (
    _API_KEY,
    replace(
        _API_KEY,
        name="bedrock-signed",
        call=ProviderCall("us.stability.stable-style-transfer-v1:0", SOURCE),
        options={"region": "us-west-2"},
        credential=Credential("main", parts={"access_key_id": "AKIDEXAMPLE", "secret_access_key": SECRET}),
        auth_headers=None,
        unauthorized=_ANSWERS["bad_signature"],
        model_gone=_ANSWERS["unknown_model"],
    ),
)
