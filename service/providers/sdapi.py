"""The AUTOMATIC1111 web UI's img2img, also served by Forge and stable-diffusion.cpp.

The format is described from client code and the server's published source, not from recordings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime

from service.catalog.profile import Profile
from service.core.calls import CallResult, ProducedImage, ProviderCall
from service.core.errors import GatewayError
from service.providers import openai_shape, options, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import HttpRequest, HttpResponse, SignableRequest

LOADED_CHECKPOINT = "default"
"""The model name that leaves the server's checkpoint as it is; any other name has it load that one."""

_CHANCE = -1

# They say how a picture is drawn; the machine is the operator's own.
_DEFAULTS = frozenset({"steps"})


class StableDiffusionImg2Img:
    """JSON ``POST {base_url}/sdapi/v1/img2img``.

    Strength s becomes ``denoising_strength`` = 0.15 + 0.75·s: below 0.15 nothing visible changes, and above 0.9 the
    source is lost. Endpoint option ``steps``: sampling steps, not sent unless set. A key of the form
    ``user:password`` is sent as Basic (the server's ``--api-auth``), any other as Bearer (a proxy before it).
    """

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        steps = endpoint.options.get("steps", "")
        fields = {
            "init_images": [wire.base64_text(call.image.data)],
            "prompt": call.prompt,
            "denoising_strength": None if call.strength is None else round(0.15 + 0.75 * call.strength, 4),
            "seed": _CHANCE if call.seed is None else call.seed,
            "batch_size": call.n,
            "n_iter": 1,
            "width": call.size.width if call.size else None,
            "height": call.size.height if call.size else None,
            "steps": int(steps) if re.fullmatch(r"[0-9]{1,4}", steps) else None,
            "override_settings": None if call.model == LOADED_CHECKPOINT else {"sd_model_checkpoint": call.model},
        }
        response = yield HttpRequest(
            "POST",
            f"{endpoint.base_url}/sdapi/v1/img2img",
            headers=openai_shape.JSON_HEADERS,
            body=options.json_body(fields, call.options, defaults=_DEFAULTS),
        )
        return CallResult(images=_images(response, call.n))

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        if ":" in credential.secret:
            return {"authorization": f"Basic {wire.base64_text(credential.secret.encode())}"}
        return openai_shape.bearer(credential)

    def failure(self, response: HttpResponse) -> GatewayError:
        return openai_shape.failure(response)


def _images(response: HttpResponse, n: int) -> tuple[ProducedImage, ...]:
    """The results alone: the server may put a contact sheet before them and extensions' maps after them."""
    body = wire.json_object(response)
    images = body.get("images")
    if not isinstance(images, list) or not images:
        raise wire.bad_response("it holds no images")
    start = _index_of_first_image(body.get("info")) if len(images) > n else 0
    return tuple(wire.image_from_base64(image) for image in images[start : start + n] or images[:n])


def _index_of_first_image(info: object) -> int:
    """Read from ``info``, which is JSON inside a string."""
    if not isinstance(info, str):
        return 0
    try:
        details = json.loads(info)
    except (ValueError, RecursionError):
        return 0
    index = details.get("index_of_first_image") if isinstance(details, Mapping) else None
    return index if isinstance(index, int) and not isinstance(index, bool) and index > 0 else 0
