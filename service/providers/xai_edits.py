"""xAI's images/edits: OpenAI's answer, but the request is JSON with the image as a data URL."""

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

_USD_PER_TICK = 1e-10

_MEANINGS = (
    (re.compile(r"(?i)api key"), ErrorKind.UPSTREAM_AUTH),
    (openai_shape.REFUSAL_WORDS, ErrorKind.CONTENT_REJECTED),
    (re.compile(r"(?i)model .*(not exist|not found)"), ErrorKind.MODEL_GONE),
)


_RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2", "9:19.5", "19.5:9", "9:20", "20:9", "1:2", "2:1")
_MOST_PIXELS_OF_1K = 1_700_000
# It has two; "auto" leaves the choice to it.
_QUALITIES = {"low": "low", "medium": "medium", "standard": "medium", "high": "medium", "hd": "medium"}


class XAIEdits:
    """JSON ``POST {base_url}/images/edits``. A size becomes an aspect ratio and a resolution; no seed or strength.

    Endpoint option ``response_format``: ``b64_json`` (default) or ``url``. The answer reports its cost in ticks of
    10^-10 USD. An image whose ``respect_moderation`` is false was withheld.
    """

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        fields = {
            "model": call.model,
            "prompt": call.prompt,
            "n": call.n,
            "response_format": endpoint.options.get("response_format", "b64_json"),
            "aspect_ratio": wire.nearest_ratio(call.size, _RATIOS) if call.size else None,
            # The price is by resolution, so none is left to the vendor where a size is asked for.
            "resolution": None if call.size is None else "2k" if call.size.pixels > _MOST_PIXELS_OF_1K else "1k",
            "quality": _QUALITIES.get(call.quality) if call.quality else None,
            "user": call.user or None,
            "image": {"url": wire.data_url(call.image), "type": "image_url"},
        }
        response = yield HttpRequest(
            "POST",
            f"{endpoint.base_url}/images/edits",
            headers=openai_shape.JSON_HEADERS,
            body=options.json_body(fields, call.options),
        )
        answer = wire.json_object(response)
        return wire.with_cost(lambda: openai_shape.parse_images(answer, call), _cost(answer.get("usage")))

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
