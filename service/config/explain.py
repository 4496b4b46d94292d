"""Turns what pydantic finds wrong into sentences for the person who wrote the file."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

from service.config.document import Document
from service.config.models import Config
from service.config.problems import Path, did_you_mean

_MESSAGES: Mapping[str, str] = {
    "missing": "is required",
    "string_type": "must be text; put it in quotes",
    "string_pattern_mismatch": "may hold only letters, digits, dots, dashes and underscores, and starts with a letter",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "needs at least {min_length}",
    "too_long": "may have at most {max_length}",
    "date_parsing": "must be a date written YYYY-MM-DD",
    "date_from_datetime_parsing": "must be a date written YYYY-MM-DD",
    "tuple_type": "must be a list",
    "dict_type": "must hold keys and values",
    "mapping_type": "must hold keys and values",
    "model_type": "must hold keys and values",
    "model_attributes_type": "must hold keys and values",
    "value_error": "{error}",
}
_LONGEST_ECHO = 60


def report(document: Document, error: ValidationError) -> None:
    """Notes every finding as a problem of the document, except where a value could not even be read."""
    unreadable = tuple(problem.key for problem in document.problems)
    findings = error.errors(include_url=False)
    for finding in findings:
        # A list whose items are wrong is not too short besides.
        if any(other["loc"][:-1][: len(finding["loc"])] == finding["loc"] for other in findings):
            continue
        # The key of a mapping is blamed at the key itself.
        path: Path = tuple(part for part in finding["loc"] if part != "[key]")
        kind = finding["type"]
        if kind == "extra_forbidden":
            problem = document.problem_at(path, f"is not a setting{did_you_mean(str(path[-1]), _keys_at(path[:-1]))}")
        elif kind == "missing":
            problem = document.problem_at(path, _MESSAGES[kind])
        else:
            known = _MESSAGES.get(kind)
            message = known.format_map(finding.get("ctx", {})) if known else f"is wrong: {finding['msg']}"
            problem = document.problem_at(
                document.nearest(path) or path, message + _echo(finding["input"], path, document)
            )
        if not any(key == problem.key or key.startswith((f"{problem.key}.", f"{problem.key}[")) for key in unreadable):
            document.problems.append(problem)


def _echo(value: Any, path: Path, document: Document) -> str:
    """The value as it stands in the file, unless it may be a secret."""
    place = document.nearest(path)
    if place in document.placeholders:
        return f", got {document.placeholders[place]!r}"
    if not isinstance(value, str | int | float) or holds_secret(_annotation_at(path)):
        return ""
    # URLs carry user names, passwords and tokens when someone gets them wrong.
    if isinstance(value, str) and "://" in value:
        return ""
    text = repr(value) if isinstance(value, str) else str(value).lower()
    return f", got {text}" if len(text) <= _LONGEST_ECHO else f", got {text[:_LONGEST_ECHO]}..."


def holds_secret(annotation: Any) -> bool:
    """Whether a setting of this type is a secret or has one somewhere below it."""
    if annotation is SecretStr:
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(holds_secret(field.annotation) for field in annotation.model_fields.values())
    return any(holds_secret(part) for part in get_args(annotation))


def _keys_at(path: Path) -> tuple[str, ...]:
    annotation = _annotation_at(path)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return tuple(annotation.model_fields)
    return ()


def _annotation_at(path: Path) -> Any:
    """The type of the setting at a path; None where there is no such setting."""
    annotation: Any = Config
    for part in path:
        annotation = _child(_bare(annotation), part)
    return _bare(annotation)


def _child(annotation: Any, part: str | int) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        return field.annotation if field else None
    arguments = get_args(annotation)
    if not arguments:
        return None
    return arguments[0] if get_origin(annotation) is tuple else arguments[-1]


def _bare(annotation: Any) -> Any:
    """The type without Annotated and without the None of an optional."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, types.UnionType):
            annotation = next(part for part in get_args(annotation) if part is not type(None))
        else:
            return annotation
