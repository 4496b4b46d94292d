"""A request's body in whichever encoding it came."""

from __future__ import annotations

from service.api.rest.body import Body
from service.api.rest.form import parse_form
from service.api.rest.json_request import parse_json
from service.api.validation import Fields


def parse_body(body: Body) -> Fields:
    """The fields of a body in JSON or in multipart/form-data.

    Raises:
        GatewayError: As ``parse_json`` and ``parse_form``; UNSUPPORTED_MEDIA_TYPE where it is neither.
    """
    media_type = body.content_type.partition(";")[0].strip().lower()
    if media_type == "application/json":
        return parse_json(body)
    return parse_form(body)
