"""Checking fields as strictly as a vendor that rejects what it does not know."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image, UnidentifiedImageError

from tests.doubles.framework import Form


@dataclass(frozen=True, slots=True)
class Field:
    """The values that one field may hold.

    Attributes:
        type: ``str``, ``int``, ``float`` (which takes whole numbers too), ``bool``, ``dict`` or ``list``.
        choices: The only values there are.
        minimum, maximum: Of the number, or of the text's length.
        check: Returns what is wrong with the value, or an empty string.
    """

    type: type = str
    required: bool = False
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    check: Callable[[Any], str] | None = None


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """The first thing wrong with a body. ``reason``: ``missing``, ``unknown``, ``type``, ``value``."""

    field: str
    reason: str
    message: str


def first_problem(values: Mapping[str, Any], fields: Mapping[str, Field]) -> FieldProblem | None:
    """The vendor's first complaint, or None."""
    for name in values:
        if name not in fields:
            return FieldProblem(name, "unknown", f"Unknown parameter: '{name}'.")
    for name, field in fields.items():
        if name not in values:
            if field.required:
                return FieldProblem(name, "missing", f"Missing required parameter: '{name}'.")
            continue
        problem = _problem_of(name, values[name], field)
        if problem:
            return problem
    return None


def _problem_of(name: str, value: Any, field: Field) -> FieldProblem | None:
    accepted = (int, float) if field.type is float else field.type
    if not isinstance(value, accepted) or (isinstance(value, bool) and field.type is not bool):
        return FieldProblem(name, "type", f"'{name}' must be of type {field.type.__name__}.")
    if field.choices and value not in field.choices:
        return FieldProblem(name, "value", f"'{name}' must be one of {', '.join(map(str, field.choices))}.")
    measure: Any = len(value) if isinstance(value, str | list | dict) else value
    if field.minimum is not None and measure < field.minimum:
        return FieldProblem(name, "value", f"'{name}' must be at least {field.minimum:g}.")
    if field.maximum is not None and measure > field.maximum:
        return FieldProblem(name, "value", f"'{name}' must be at most {field.maximum:g}.")
    wrong = field.check(value) if field.check else ""
    return FieldProblem(name, "value", f"'{name}' {wrong}.") if wrong else None


def form_values(form: Form, fields: Mapping[str, Field]) -> dict[str, Any]:
    """A form's text fields with numbers read as such, so that ``first_problem`` can check them.

    What is no number stays text and so has the wrong type. A field sent twice becomes a list.
    """
    values: dict[str, Any] = {}
    for name, text in form.fields:
        value = _read(text, fields[name].type) if name in fields else text
        values[name] = [values[name], value] if name in values else value
    return values


def _read(text: str, wanted: type) -> Any:
    if wanted is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if wanted in (int, float):
        try:
            return wanted(text)
        except ValueError:
            return text
    return text


def bytes_of_base64(text: str) -> bytes:
    """The bytes behind base64 text; empty when it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def bytes_of_data_url(url: str) -> bytes:
    """The bytes behind a base64 data URL; empty when it is none. Doubles fetch nothing."""
    head, comma, text = url.partition(",")
    return bytes_of_base64(text) if comma and head.startswith("data:image/") and head.endswith(";base64") else b""


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of an image file that can be read whole; None when it cannot."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return image.size
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return None
