"""BytePlus ModelArk: Seedream. JSON in, OpenAI's shape of answer out.

Request and answer follow the vendor's documentation; none is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from service.catalog.profile import Profile
from service.core.calls import ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.providers import openai_shape, options, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import HttpRequest, HttpResponse, SignableRequest

# Whether the vendor may stamp its mark on the picture; it costs the same.
_DEFAULTS = frozenset({"watermark"})

_REFUSAL = re.compile(r"(?i)sensitive ?content|risk ?content|policy ?violation")


class BytePlusSeedream:
    """JSON ``POST {base_url}/images/generations``, one image a call: series of images are switched off, since how many
    the model makes of one request, and bills, would be its own decision."""

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        fields = {
            "model": call.model,
            "prompt": call.prompt,
            "image": wire.data_url(call.image),
            "size": str(call.size) if call.size else None,
            "response_format": "b64_json",
            "seed": call.seed,
            "watermark": False,
            "sequential_image_generation": "disabled",
            "output_format": call.output_format.value if call.output_format else None,
        }
        body = options.json_body(fields, call.options, defaults=_DEFAULTS)
        answer = yield HttpRequest("POST", f"{endpoint.base_url}/images/generations", body=body)
        return openai_shape.parse_images(wire.json_object(answer), call)

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return openai_shape.bearer(credential)

    def failure(self, response: HttpResponse) -> GatewayError:
        """Its refusals are 400s whose code or words name sensitive content, such as
        ``InputImageSensitiveContentDetected``."""
        body = wire.lenient_json(response)
        error = body.get("error") if isinstance(body, Mapping) else None
        code = error.get("code") if isinstance(error, Mapping) else None
        said = f"{code if isinstance(code, str) else ''} {openai_shape.message_of(body)}"
        if response.status in (400, 403) and _REFUSAL.search(said):
            return wire.status_error(response, said.strip(), kind=ErrorKind.CONTENT_REJECTED)
        return openai_shape.failure(response)
