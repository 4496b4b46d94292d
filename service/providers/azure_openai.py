"""Azure OpenAI's images/edits: OpenAI's body and answer at another address, with another way to give the key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlencode

from service.catalog.profile import Profile
from service.core.calls import ProviderCall
from service.core.errors import GatewayError
from service.providers import openai_shape, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import HttpRequest, HttpResponse, SignableRequest

_DEFAULT_API_VERSION = "2025-04-01-preview"


class AzureOpenAI:
    """Endpoint options:

    ``route``: ``deployment`` (default) puts the deployment, which decides the model, into the path and needs
    ``api_version``; ``v1`` names the model in the form. ``auth``: ``api-key`` (default) sends the key in that
    header, ``bearer`` sends a Microsoft Entra token. ``base_url`` is the resource's own, with or without
    ``/openai/v1``.
    """

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        resource = endpoint.base_url.removesuffix("/v1").removesuffix("/openai")
        by_name = endpoint.options.get("route") == "v1"
        if by_name:
            url = f"{resource}/openai/v1/images/edits"
        else:
            version = urlencode({"api-version": endpoint.options.get("api_version", _DEFAULT_API_VERSION)})
            url = f"{resource}/openai/deployments/{wire.model_path(call.model)}/images/edits?{version}"
        response = yield HttpRequest(
            "POST",
            url,
            headers=openai_shape.JSON_HEADERS,
            body=openai_shape.edits_form(call, endpoint, name_model=by_name),
        )
        return replace(
            openai_shape.parse_images(wire.json_object(response), call), deployment="" if by_name else call.model
        )

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return openai_shape.azure_key(credential, endpoint)

    def failure(self, response: HttpResponse) -> GatewayError:
        return openai_shape.failure(response)
