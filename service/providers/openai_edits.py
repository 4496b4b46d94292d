"""OpenAI's images/edits, and self-hosted servers that are compatible with it (vLLM-Omni, stable-diffusion.cpp, …).

OpenAI retired its own images/variations, so a variation is an edit with a prompt that asks for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from service.catalog.profile import Profile
from service.core.calls import ProviderCall
from service.core.errors import GatewayError
from service.providers import openai_shape, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import HttpRequest, HttpResponse, SignableRequest


class OpenAIEdits:
    """Multipart ``POST {base_url}/images/edits``; endpoint options as in ``openai_shape.edits_form``.

    There is no knob for strength; a seed is sent only to servers that name a ``seed_field``.
    """

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        response = yield HttpRequest(
            "POST",
            f"{endpoint.base_url}/images/edits",
            headers=openai_shape.JSON_HEADERS,
            body=openai_shape.edits_form(call, endpoint),
        )
        return openai_shape.parse_images(wire.json_object(response), call)

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return openai_shape.bearer(credential)

    def failure(self, response: HttpResponse) -> GatewayError:
        return openai_shape.failure(response)
