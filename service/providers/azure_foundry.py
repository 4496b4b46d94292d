"""Azure AI Foundry's models that are not OpenAI's: FLUX.2 of Black Forest Labs and Microsoft's MAI-Image.

Requests follow published client code; none is recorded. Both answer in OpenAI's shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlencode

from service.catalog.profile import Profile
from service.core.calls import ProviderCall
from service.core.errors import GatewayError
from service.providers import openai_shape, options, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import FormBody, HttpRequest, HttpResponse, JsonBody, SignableRequest

_DEFAULT_API_VERSION = "preview"


class AzureFoundryImages:
    """Models that begin with ``flux`` go, as JSON, to the vendor's own path; all others, as a form, to MAI's edits.

    ``base_url`` is the resource's own. Endpoint options: ``api_version``; ``auth``: ``api-key`` (default) sends the
    key in that header, ``bearer`` sends a Microsoft Entra token.
    """

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        name = wire.model_path(call.model)
        body: JsonBody | FormBody
        if name.lower().startswith("flux"):
            path, body = f"/providers/blackforestlabs/v1/{name.lower().replace('.', '-')}", _flux_body(call)
        else:
            path, body = "/mai/v1/images/edits", _mai_body(call)
        version = urlencode({"api-version": endpoint.options.get("api_version", _DEFAULT_API_VERSION)})
        request = HttpRequest(
            "POST", f"{endpoint.base_url}{path}?{version}", headers=openai_shape.JSON_HEADERS, body=body
        )
        return openai_shape.parse_images(wire.json_object((yield request)), call)

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return openai_shape.azure_key(credential, endpoint)

    def failure(self, response: HttpResponse) -> GatewayError:
        return openai_shape.failure(response)


def _flux_body(call: ProviderCall) -> JsonBody:
    fields = {
        "model": call.model,
        "prompt": call.prompt,
        "input_image": wire.base64_text(call.image.data),
        "width": call.size.width if call.size else None,
        "height": call.size.height if call.size else None,
        "seed": call.seed,
        "output_format": call.output_format.value if call.output_format else None,
    }
    return options.json_body(fields, call.options)


def _mai_body(call: ProviderCall) -> FormBody:
    fields = {"model": call.model, "prompt": call.prompt, "n": call.n}
    return options.form_body(fields, call.options, (openai_shape.image_file(call.image, "image"),))
