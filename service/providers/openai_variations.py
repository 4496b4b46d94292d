"""images/variations in OpenAI's shape, where it still exists: at DeepInfra, or at another copy of this service."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from service.catalog.profile import Profile
from service.core.calls import ProviderCall
from service.core.errors import GatewayError
from service.providers import openai_shape, options, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import HttpRequest, HttpResponse, SignableRequest


class OpenAIVariations:
    """Multipart ``POST {base_url}/images/variations``: image, model, n, size, response_format, user. No prompt.

    Endpoint options: ``response_format`` (default ``b64_json``; empty: the field is not sent), ``image_field``
    (default ``image``), and for servers that extend the shape, as this service does, the field names
    ``prompt_field``, ``strength_field`` (0 to 1, as it is) and ``seed_field``; not sent unless set.
    """

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        named = endpoint.options
        fields = {
            "model": call.model,
            "n": call.n,
            "size": str(call.size) if call.size else None,
            "response_format": named.get("response_format", "b64_json") or None,
            "output_format": call.output_format.value if call.output_format else None,
            "quality": call.quality or None,
            "background": call.background or None,
            "user": call.user or None,
        }
        extensions = {"prompt": call.prompt or None, "strength": call.strength, "seed": call.seed}
        fields |= {named[f"{knob}_field"]: value for knob, value in extensions.items() if named.get(f"{knob}_field")}
        response = yield HttpRequest(
            "POST",
            f"{endpoint.base_url}/images/variations",
            headers=openai_shape.JSON_HEADERS,
            body=options.form_body(
                fields, call.options, (openai_shape.image_file(call.image, named.get("image_field", "image")),)
            ),
        )
        return openai_shape.parse_images(wire.json_object(response), call)

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return openai_shape.bearer(credential)

    def failure(self, response: HttpResponse) -> GatewayError:
        return openai_shape.failure(response)
