"""The reasons that errors carry, and the list of them that clients are given."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from imagevariations.v1.error_reason_pb2 import ErrorReason
from running_gateway import REPOSITORY

from service.api.status import STATUS

# Told by the embedded engine to those who use it as a library; the gateway checks these before.
_NEVER_SENT = {"invalid_index"}


def _codes_in(tree: ast.AST) -> Iterator[str]:
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        code = next((keyword.value for keyword in call.keywords if keyword.arg == "code"), None)
        if isinstance(code, ast.Constant) and isinstance(code.value, str) and code.value:
            yield code.value
        elif code is None and isinstance(call.func, ast.Name) and call.func.id == "invalid":
            field = call.args[0]
            if isinstance(field, ast.Constant) and isinstance(field.value, str):
                yield f"invalid_{field.value}"
        elif isinstance(call.func, ast.Name) and call.func.id == "_denied":
            constants = (argument.value for argument in call.args if isinstance(argument, ast.Constant))
            yield from (word for word in constants if isinstance(word, str) and re.fullmatch("[a-z]+(_[a-z]+)+", word))


def _codes() -> set[str]:
    sources = (REPOSITORY / "service").rglob("*.py")
    literal = {code for source in sources for code in _codes_in(ast.parse(source.read_text(encoding="utf-8")))}
    return (literal | {row.code for row in STATUS.values()}) - _NEVER_SENT


@pytest.mark.parametrize("code", sorted(_codes()))
def test_every_code_is_a_reason_that_clients_know(code: str) -> None:
    assert code.upper() in ErrorReason.keys(), "add it to protos/imagevariations/v1/error_reason.proto and `make gen`"  # noqa: SIM118


def test_the_codes_are_found() -> None:
    assert {"invalid_image", "missing_image", "key_expired", "duplicate_field", "internal_error"} <= _codes()
