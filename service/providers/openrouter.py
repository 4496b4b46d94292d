"""OpenRouter's images: one API before many vendors' models. JSON in, OpenAI's shape of answer out, with its cost.

Request and answer follow the vendor's own client; none is recorded.
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


class OpenRouterImages:
    """JSON ``POST {base_url}/images``. Every model takes the source as a reference; what else it takes are facts of
    its profile: ``size_field`` is ``size``, or ``aspect_ratio+resolution`` (both together are refused)."""

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        """One call. A model that makes a single image refuses a number of them, so none is sent to it."""
        fields = {
            "model": call.model,
            "prompt": call.prompt,
            "input_references": [{"type": "image_url", "image_url": {"url": wire.data_url(call.image)}}],
            "n": call.n if profile.max_n > 1 else None,
            **facts.size_fields(profile.size_field, call.size),
            "quality": wire.quality_level(call.quality) or None,
            "background": call.background or None,
            "output_format": call.output_format.value if call.output_format else None,
            "seed": call.seed,
            "user": call.user or None,
        }
        body = options.json_body(fields, call.options)
        answer = wire.json_object((yield HttpRequest("POST", f"{endpoint.base_url}/images", body=body)))
        usage = answer.get("usage")
        cost = wire.amount(usage.get("cost")) if isinstance(usage, Mapping) else None
        return wire.with_cost(lambda: openai_shape.parse_images(answer, call), cost)

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return openai_shape.bearer(credential)

    def failure(self, response: HttpResponse) -> GatewayError:
        return openai_shape.failure(response)
