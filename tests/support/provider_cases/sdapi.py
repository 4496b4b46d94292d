"""The web UI's img2img."""

from __future__ import annotations

from provider_case import SECRET, SOURCE, ProviderCase
from vendor_answers import answers

from service.core.calls import ProviderCall
from service.core.values import Size
from service.providers.base import Credential

_ANSWERS = answers("sdapi")

CASES = (
    ProviderCase(
        name="sdapi",
        translator="sdapi",
        provider="sdapi",
        call=ProviderCall("default", SOURCE, n=2, size=Size(512, 512), seed=7, strength=0.5),
        success=(_ANSWERS["success"],),
        # base64 of user:password
        credential=Credential("main", secret="user:password"),
        auth_headers={"authorization": "Basic dXNlcjpwYXNzd29yZA=="},
        unauthorized=_ANSWERS["unauthorized"],
        rate_limited=_ANSWERS["busy"],
        server_error=_ANSWERS["out_of_memory"],
        model_gone=_ANSWERS["not_enabled"],
        invalid=_ANSWERS["invalid"],
        empties=((_ANSWERS["no_images"],), (_ANSWERS["null_images"],), (_ANSWERS["bad_base64"],)),
    ),
    ProviderCase(
        name="sdapi-behind-a-proxy",
        translator="sdapi",
        provider="sdapi",
        call=ProviderCall("a-checkpoint.safetensors", SOURCE, n=2),
        success=(_ANSWERS["with_contact_sheet"],),
        auth_headers={"authorization": f"Bearer {SECRET}"},
        unauthorized=_ANSWERS["unauthorized"],
        rate_limited=_ANSWERS["busy"],
        empties=((_ANSWERS["no_images"],),),
    ),
)
