"""GatewayError: a value that travels as an exception."""

from __future__ import annotations

import contextlib

import pytest

from service.core.errors import ErrorKind, GatewayError


def test_nothing_about_it_can_be_changed() -> None:
    error = GatewayError(ErrorKind.UNAVAILABLE, "away", retry_after_s=2.0)
    for name in ("kind", "message", "code", "param", "retry_after_s", "upstream_status", "may_have_run", "other"):
        with pytest.raises(AttributeError, match="replaced"):
            setattr(error, name, None)


def test_a_changed_copy_keeps_everything_else() -> None:
    error = GatewayError(
        ErrorKind.RATE_LIMITED, "slow down", code="c", param="p", retry_after_s=2.0, upstream_status=429
    )
    copy = error.replaced(may_have_run=False, code="d")
    assert copy.__dict__ == {**error.__dict__, "may_have_run": False, "code": "d"}
    assert str(copy) == "slow down"
    assert error.code == "c"


def test_a_changed_copy_keeps_the_cause_for_the_log() -> None:
    error = GatewayError(ErrorKind.INTERNAL, "a bug")
    error.__cause__ = KeyError("choices")
    assert error.replaced(attempts=()).__cause__ is error.__cause__


def test_it_can_still_be_raised_through_what_touches_exceptions() -> None:
    """Context managers set ``__traceback__`` and ``__context__`` of what passes through them."""

    @contextlib.contextmanager
    def passing():
        yield

    error = GatewayError(ErrorKind.INTERNAL, "a bug")

    def fail() -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(passing())
            stack.callback(lambda: None)
            raise error from KeyError("choices")

    with pytest.raises(GatewayError) as caught:
        fail()
    assert caught.value is error
    assert isinstance(error.__cause__, KeyError)
