"""DeepInfra: variations in OpenAI's shape. Results are JPEGs, and there is no prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.doubles.framework import Call, Failure, Operation, RefusedError, Reply, VendorDouble, key_in_header
from tests.doubles.images import make_variations
from tests.doubles.openai import checked_form, count_of, inline, pixels
from tests.doubles.strict import Field

_MODEL = "black-forest-labs/FLUX-1-Redux-dev"
_WORDS: Mapping[int, str] = {
    401: "User is not authenticated",
    402: "inference prohibited, please add a payment method",
    404: "Model is not available",
    429: "Model busy, retry later",
}


def _error(status: int, message: str) -> Reply:
    return Reply(status, {"detail": {"error": message or _WORDS.get(status, "Internal server error")}})


def _wrong_size(value: str) -> str:
    found = re.fullmatch(r"(\d{3,4})x(\d{3,4})", value)
    sides = [int(side) for side in found.groups()] if found else [0]
    return "" if all(128 <= side <= 1440 and side % 16 == 0 for side in sides) else "is no size on offer"


_FIELDS: Mapping[str, Field] = {
    "model": Field(required=True, choices=(_MODEL,)),
    "n": Field(int, minimum=1, maximum=4),
    "size": Field(check=_wrong_size),
    "response_format": Field(choices=("b64_json",)),
    "user": Field(),
}


async def _vary(call: Call) -> Reply:
    try:
        values, image = checked_form(call, _FIELDS)
    except RefusedError as refused:
        error = refused.reply.json["error"]
        if error["code"] == "model_not_found":
            raise RefusedError(_error(404, "")) from refused
        detail = [{"loc": ["body", error["param"]], "msg": error["message"], "type": "value_error"}]
        raise RefusedError(Reply(422, {"detail": detail})) from refused
    if call.failure is Failure.REFUSAL:
        # It documents no refusal of its own.
        raise RefusedError(_error(400, "NSFW content detected"))
    size = pixels(values.get("size", "1024x1024"), image.data)
    count = count_of(call, values.get("n", 1))
    files = await make_variations(image.data, count, size=size, file_format="jpeg", seed=2000 + call.request.order)
    return Reply(json={"created": 1740418043, "data": [{"revised_prompt": None, **entry} for entry in inline(files)]})


DOUBLES = (
    VendorDouble(
        name="deepinfra",
        operations=(Operation("POST", "/images/variations", _vary),),
        authenticate=key_in_header("Authorization", "Bearer "),
        error=_error,
        model=_MODEL,
    ),
)
