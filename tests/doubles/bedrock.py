"""Amazon Bedrock with Stability AI's models: with API keys (``bedrock``) and with signatures (``bedrock-signed``)."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from tests.doubles import images, strict
from tests.doubles.framework import (
    Call,
    Failure,
    Operation,
    Recorded,
    RefusedError,
    Reply,
    VendorDouble,
    key_in_header,
)
from tests.doubles.sigv4 import parse_authorization, signature
from tests.doubles.strict import Field

ACCESS_KEY_ID = "AKIADOUBLEOFBEDROCK1"
SECRET_ACCESS_KEY = "double-secret-access-key-of-bedrock-40ch"
REGION = "us-west-2"
_MOST_SKEW = timedelta(minutes=5)
_LARGEST_SEED = 4_294_967_294

_RATIOS = {
    "1:1": (1024, 1024),
    "2:3": (832, 1216),
    "3:2": (1216, 832),
    "4:5": (896, 1088),
    "5:4": (1088, 896),
    "9:16": (768, 1344),
    "16:9": (1344, 768),
    "9:21": (640, 1536),
    "21:9": (1536, 640),
}

_SHARED = {
    "negative_prompt": Field(maximum=10_000),
    "seed": Field(int, minimum=0, maximum=_LARGEST_SEED),
    "output_format": Field(choices=("png", "jpeg", "webp")),
}
_PROMPT = {"prompt": Field(required=True, maximum=10_000)}
_SHARE = Field(float, minimum=0, maximum=1)
_IMAGE = Field(required=True)

_SD3 = {
    **_SHARED,
    **_PROMPT,
    "mode": Field(choices=("image-to-image",), required=True),
    "image": _IMAGE,
    "strength": _SHARE,
}
_STYLE = {**_SHARED, **_PROMPT, "image": _IMAGE, "fidelity": _SHARE, "aspect_ratio": Field(choices=tuple(_RATIOS))}
_STRUCTURE = {**_SHARED, **_PROMPT, "image": _IMAGE, "control_strength": _SHARE}
_TRANSFER = {
    **_SHARED,
    "prompt": Field(maximum=10_000),
    "init_image": _IMAGE,
    "style_image": _IMAGE,
    "style_strength": _SHARE,
    "composition_fidelity": _SHARE,
    "change_strength": Field(float, minimum=0.1, maximum=1),
}
_FIELDS: Mapping[str, Mapping[str, Field]] = {
    "stability.sd3-5-large-v1:0": _SD3,
    "stability.stable-image-style-guide-v1:0": _STYLE,
    "stability.stable-image-control-structure-v1:0": _STRUCTURE,
    "stability.stable-image-control-sketch-v1:0": _STRUCTURE,
    "stability.stable-style-transfer-v1:0": _TRANSFER,
}

_EXCEPTION = {
    400: ("ValidationException", "The request is invalid."),
    401: ("UnrecognizedClientException", "The security token included in the request is invalid."),
    402: ("ServiceQuotaExceededException", "Your request exceeds the service quota for your account."),
    403: ("AccessDeniedException", "You don't have access to the model with the specified model ID."),
    404: ("ResourceNotFoundException", "This model version has reached the end of its life."),
    408: ("ModelTimeoutException", "The request took too long to process."),
    424: ("ModelErrorException", "The request failed due to an error while processing the model."),
    429: ("ThrottlingException", "Too many requests, please wait before trying again."),
    500: ("InternalServerException", "An internal server error occurred. Retry your request."),
    503: ("ServiceUnavailableException", "The service isn't currently available. Try again later."),
}
# Amazon answers 403 to those it does not know, and 400 where a quota is used up.
_STATUS = {401: 403, 402: 400}


def _error(status: int, message: str) -> Reply:
    name, usual = _EXCEPTION.get(status, ("UnknownOperationException", "Unknown."))
    headers = {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"}
    return Reply(_STATUS.get(status, status), {"message": message or usual}, headers=headers)


async def _invoke(call: Call) -> Reply:
    request = call.request
    fields = _FIELDS.get(re.sub(r"^us\.", "", call.params["model"]))
    if fields is None:
        return _error(400, "The provided model identifier is invalid.")
    if request.media_type != "application/json" or not isinstance(request.json, dict):
        return _error(400, "Malformed input request, please reformat your input and try again.")
    problem = strict.first_problem(request.json, fields)
    if problem is not None:
        where = f"#/{problem.field}: {problem.message}"
        return _error(400, f"Malformed input request: {where}, please reformat your input and try again.")
    body: Mapping[str, Any] = request.json
    sources = [_source(body[name]) for name in ("image", "init_image", "style_image") if name in body]
    seed = body.get("seed") or request.order + 1
    match call.failure:
        case Failure.REFUSAL | Failure.PARTIAL_REFUSAL:
            return Reply(json={"seeds": [], "finish_reasons": ["Filter reason: output image"], "images": []})
        case Failure.EMPTY_RESULT:
            return Reply(json={"seeds": [], "finish_reasons": [], "images": []})
    made = await images.make_variations(
        sources[0],
        1,
        size=_RATIOS[body.get("aspect_ratio", "1:1")] if "aspect_ratio" in fields else None,
        file_format=body.get("output_format", "png"),
        seed=seed,
    )
    encoded = base64.b64encode(made[0]).decode()
    return Reply(json={"seeds": [seed], "finish_reasons": [None], "images": [encoded]})


def _source(text: str) -> bytes:
    data = strict.bytes_of_base64(text)
    size = strict.image_size(data)
    if size is None:
        raise RefusedError(_error(400, "Malformed input request: image is not a valid image."))
    if min(size) < 64 or not 4_096 <= size[0] * size[1] <= 9_437_184:
        raise RefusedError(_error(400, "Malformed input request: image has unsupported dimensions."))
    return data


def _signed_by(request: Recorded) -> str:
    """The secret access key of a request whose signature is right and fresh, else an empty string.

    The secret is what counts as the key: unlike the id it is never sent, so finding it anywhere is a leak.
    """
    authorization = parse_authorization(request.headers.get("authorization", ""))
    access_key_id, _, scope = authorization.get("Credential", "").partition("/")
    timestamp = request.headers.get("x-amz-date", "")
    names = authorization.get("SignedHeaders", "").split(";")
    if not {"host", "x-amz-date"} <= set(names) or not set(names) <= set(request.headers):
        return ""
    if scope != f"{timestamp[:8]}/{REGION}/bedrock/aws4_request" or not _is_fresh(timestamp):
        return ""
    expected = signature(
        request.method,
        f"http://{request.headers['host']}/{request.vendor}{quote(request.path, safe='/')}",
        {name: request.headers[name] for name in names},
        request.body,
        secret_access_key=SECRET_ACCESS_KEY,
        scope=scope,
        timestamp=timestamp,
    )
    is_right = access_key_id == ACCESS_KEY_ID and authorization.get("Signature") == expected
    return SECRET_ACCESS_KEY if is_right else ""


def _is_fresh(timestamp: str) -> bool:
    try:
        then = datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs(datetime.now(UTC) - then) <= _MOST_SKEW


_OPERATIONS = (Operation("POST", "/model/{model:path}/invoke", _invoke),)

DOUBLES = (
    VendorDouble(
        name="bedrock",
        operations=_OPERATIONS,
        authenticate=key_in_header("authorization", "Bearer "),
        error=_error,
        model="stability.sd3-5-large-v1:0",
    ),
    VendorDouble(
        name="bedrock-signed",
        operations=_OPERATIONS,
        authenticate=_signed_by,
        error=_error,
        model="stability.sd3-5-large-v1:0",
        keys=(SECRET_ACCESS_KEY,),
        provider="bedrock",
        options={"region": REGION},
        key_parts={"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY},
    ),
)
