"""Shared by the doubles of vendors that take JSON: fields checked one by one, and the pictures for an answer."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from tests.doubles.framework import Call, Failure, RefusedError, Reply
from tests.doubles.images import make_variations
from tests.doubles.strict import Field, bytes_of_base64, bytes_of_data_url, first_problem, image_size


def wrong_data_url(url: str) -> str:
    """The complaint about a picture in a data URL; empty where nothing is wrong."""
    return "" if image_size(bytes_of_data_url(url)) else "is no image in a data URL; doubles download nothing"


def wrong_base64(text: str) -> str:
    """The complaint about a picture in base64; empty where nothing is wrong."""
    return "" if image_size(bytes_of_base64(text)) else "is no image in base64"


def checked_json(
    call: Call, values: Any, fields: Mapping[str, Field], invalid: Callable[[str], Reply]
) -> dict[str, Any]:
    """An object of a JSON body, found good; ``invalid`` makes the vendor's own complaint."""
    if call.request.media_type != "application/json" or not isinstance(values, dict):
        raise RefusedError(invalid("The body is not a JSON object."))
    problem = first_problem(values, fields)
    if problem:
        raise RefusedError(invalid(problem.message))
    return values


async def pictures(
    call: Call,
    source: bytes,
    count: int,
    *,
    size: tuple[int, int] | None,
    file_format: str = "png",
    seed: int | None = None,
) -> list[bytes]:
    """The files of an answer: none for an empty result, one less where one was refused."""
    if call.failure is Failure.EMPTY_RESULT:
        return []
    if call.failure is Failure.PARTIAL_REFUSAL:
        count = max(1, count - 1)
    chosen = 4000 + call.request.order if seed is None else seed
    return await make_variations(source, count, size=size, file_format=file_format, seed=chosen)


def base64_of(file: bytes) -> str:
    """A file as vendors put it into JSON."""
    return base64.b64encode(file).decode()
