"""xAI's images/edits: OpenAI's answer, but the request is JSON with the image as a data URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from service.catalog.profile import Profile
from service.core.calls import ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.providers import openai_shape, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import HttpRequest, HttpResponse, SignableRequest

_USD_PER_TICK = 1e-10

_MEANINGS = (
    (re.compile(r"(?i)api key"), ErrorKind.UPSTREAM_AUTH),
    (openai_shape.REFUSAL_WORDS, ErrorKind.CONTENT_REJECTED),
    (re.compile(r"(?i)model .*(not exist|not found)"), ErrorKind.MODEL_GONE),
)


class XAIEdits:
    """JSON ``POST {base_url}/images/edits``. No size, seed or strength; the output takes the input's shape.

    Endpoint option ``response_format``: ``b64_json`` (default) or ``url``. The answer reports its cost in ticks of
    10^-10 USD. An image whose ``respect_moderation`` is false was withheld.
    """

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        fields = {
            "model": call.model,
            "prompt": call.prompt,
            "n": call.n,
            "response_format": endpoint.options.get("response_format", "b64_json"),
            "image": {"url": wire.data_url(call.image), "type": "image_url"},
        }
        response = yield HttpRequest(
            "POST",
            f"{endpoint.base_url}/images/edits",
            headers=openai_shape.JSON_HEADERS,
            body=wire.merged(fields, openai_shape.unstreamed(call.options)),
        )
        answer = wire.json_object(response)
        return replace(openai_shape.parse_images(answer, call), cost_usd=_cost(answer.get("usage")))

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return openai_shape.bearer(credential)

    def failure(self, response: HttpResponse) -> GatewayError:
        """Its 400s have no codes that would tell a wrong key or a refusal from a wrong field, only words."""
        said = openai_shape.message_of(wire.lenient_json(response))
        meanings = _MEANINGS if response.status == 400 else ()
        return wire.status_error(
            response, said, kind=next((kind for words, kind in meanings if words.search(said)), None)
        )


def _cost(usage: object) -> float | None:
    ticks = usage.get("cost_in_usd_ticks") if isinstance(usage, Mapping) else None
    if isinstance(ticks, bool) or not isinstance(ticks, int) or not 0 <= ticks < 10**15:
        return None
    return ticks * _USD_PER_TICK
