"""Stability AI's v2beta image API: multipart in, JSON out, one image a call.

Request fields follow the vendor's reference; its answers and errors are composed from that, not recorded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from service.catalog.profile import Profile
from service.core.calls import CallResult, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.providers import options, stability_shape, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import FormFile, HttpRequest, HttpResponse, SignableRequest
from service.providers.stability_shape import Operation

# Model name -> path below /stable-image and operation. The sd3.5 models share one path and name themselves.
_SD3 = ("generate/sd3", stability_shape.IMAGE_TO_IMAGE)
_SERVICES: Mapping[str, tuple[str, Operation]] = {
    "stable-image-ultra": ("generate/ultra", stability_shape.ULTRA),
    "control-structure": ("control/structure", stability_shape.STRUCTURE),
    "control-style": ("control/style", stability_shape.STYLE),
    "control-style-transfer": ("control/style-transfer", stability_shape.STYLE_TRANSFER),
}

_LONGEST_USER_ID = 256


class StabilityImages:
    """Models: ``stable-image-ultra``, ``control-structure``, ``control-style``, ``control-style-transfer``, and any
    of the sd3 family (``sd3.5-large``, …), which all go to ``generate/sd3``."""

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        """One call, one image. Strength is mapped as ``stability_shape.fields`` says."""
        path, operation = _service(call.model)
        fields = stability_shape.fields(operation, call)
        if operation is stability_shape.IMAGE_TO_IMAGE:
            fields["model"] = call.model
        filename = f"image.{call.image.format.value}"
        files = tuple(
            FormFile(name, filename, call.image.format.media_type, call.image.data) for name in operation.image_fields
        )
        response = yield HttpRequest(
            "POST",
            f"{endpoint.base_url}/stable-image/{path}",
            headers={"accept": "application/json", **_user_header(call.user)},
            body=options.form_body(fields, call.options, files),
        )
        answer = wire.json_object(response)
        if answer.get("finish_reason") == "CONTENT_FILTERED":
            # The image that comes with it is a blur.
            raise wire.rejected("CONTENT_FILTERED.")
        reason = answer.get("finish_reason")
        return CallResult(
            images=(wire.image_from_base64(answer.get("image")),),
            seeds=wire.seeds(answer.get("seed")),
            finish_reasons=(reason,) if isinstance(reason, str) else (),
        )

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        return {"authorization": f"Bearer {credential.secret}"}

    def failure(self, response: HttpResponse) -> GatewayError:
        body = wire.lenient_json(response)
        name = body.get("name") if isinstance(body, dict) else None
        errors = body.get("errors") if isinstance(body, dict) else None
        said = " ".join(str(error) for error in errors) if isinstance(errors, list) else ""
        kind = None
        if name == "content_moderation":
            kind = ErrorKind.CONTENT_REJECTED  # It comes with 403, which would otherwise put the blame on the key.
        failure = wire.status_error(response, said or (name if isinstance(name, str) else ""), kind=kind)
        if failure.kind is ErrorKind.RATE_LIMITED and failure.retry_after_s is None:
            return failure.replaced(retry_after_s=_timed_out_for(said))
        return failure


def _service(model: str) -> tuple[str, Operation]:
    if model in _SERVICES:
        return _SERVICES[model]
    if model.startswith("sd3"):
        return _SD3
    raise GatewayError(
        ErrorKind.UNSUPPORTED,
        f"Stability's model {wire.excerpt(model)!r} is not one that makes images from images here: use an sd3 model or "
        f"{', '.join(_SERVICES)}.",
        may_have_run=False,
    )


def _user_header(user: str) -> Mapping[str, str]:
    """The end user for the vendor's moderation, where it can be said in a header at all."""
    fits = 0 < len(user) <= _LONGEST_USER_ID and user.isascii() and user.isprintable()
    return {"stability-client-user-id": user} if fits else {}


def _timed_out_for(message: str) -> float | None:
    """The wait in "You have exceeded the rate limit … and have been timed out for 60 seconds."."""
    found = re.search(r"timed out for (\d{1,4}) seconds", message)
    return float(found.group(1)) if found else None
