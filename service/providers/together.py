"""Together AI's images: OpenAI's path and shape of answer, with the source and the size in fields of its own.

Request and answer follow published client code; none is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from service.catalog.profile import Profile
from service.core.calls import ProviderCall
from service.core.errors import GatewayError
from service.providers import facts, openai_shape, options, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import HttpRequest, HttpResponse, SignableRequest


class TogetherImages:
    """JSON ``POST {base_url}/images/generations``. Which field takes the source (``image_url`` or
    ``reference_images[]``) is a fact of the model's profile."""

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        facts.require_image_field(call, profile, endpoint)
        fields = {
            "model": call.model,
            **facts.fields(call, profile, wire.data_url(call.image)),
            "output_format": call.output_format.value if call.output_format else None,
            "response_format": "base64",
        }
        body = options.json_body(fields, call.options)
        answer = yield HttpRequest("POST", f"{endpoint.base_url}/images/generations", body=body)
        return openai_shape.parse_images(wire.json_object(answer), call)

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return openai_shape.bearer(credential)

    def failure(self, response: HttpResponse) -> GatewayError:
        return openai_shape.failure(response)
