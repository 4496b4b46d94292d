"""The one taxonomy of failure, shared by every layer."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from service.core.values import Attempt, Usage


class ErrorKind(Enum):
    """A kind of failure: it says whose fault it is, and so what may be done about it.

    Tables keyed by this enum (retry rules, gRPC and HTTP statuses) have no default arm: a test walks
    all members, so a new kind cannot be forgotten in one of them.
    """

    # The caller's request, caught before anything is called.
    INVALID_REQUEST = "invalid_request"
    REQUEST_TOO_LARGE = "request_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    UNAUTHENTICATED = "unauthenticated"
    PERMISSION_DENIED = "permission_denied"
    BUDGET_EXCEEDED = "budget_exceeded"
    NOT_FOUND = "not_found"
    KEY_REUSED = "key_reused"
    RANGE_NOT_SATISFIABLE = "range_not_satisfiable"
    # Ends of an attempt at one target.
    UNSUPPORTED = "unsupported"
    CONTENT_REJECTED = "content_rejected"
    UPSTREAM_AUTH = "upstream_auth"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    BAD_RESPONSE = "bad_response"
    MODEL_GONE = "model_gone"
    # The target's share of the request's time ran out while others were still to be tried: nobody is to blame.
    TIME_SHARE_USED = "time_share_used"
    # The caller's own time ran out: no target has time left, and none is to blame.
    DEADLINE_EXCEEDED = "deadline_exceeded"
    # Ours.
    CANCELLED = "cancelled"
    # This process lacks file descriptors, memory or ports: no provider is to blame.
    OUT_OF_RESOURCES = "out_of_resources"
    INTERNAL = "internal"


_BEFORE_ANY_CALL = frozenset(
    {
        ErrorKind.INVALID_REQUEST,
        ErrorKind.REQUEST_TOO_LARGE,
        ErrorKind.UNSUPPORTED_MEDIA_TYPE,
        ErrorKind.UNAUTHENTICATED,
        ErrorKind.PERMISSION_DENIED,
        ErrorKind.BUDGET_EXCEEDED,
        ErrorKind.NOT_FOUND,
        ErrorKind.KEY_REUSED,
        ErrorKind.RANGE_NOT_SATISFIABLE,
    }
)


class GatewayError(Exception):
    """A failure with everything a caller may be told about it. Frozen: ``replaced`` makes a changed copy.

    Args:
        kind: Which row of the failure tables applies.
        message: One or two sentences for the caller. Never holds a secret, image bytes or a stack trace.
        code: Machine-readable refinement, such as ``invalid_n``. Empty: the default code of the kind.
        param: The request field at fault, such as ``n``. Empty: no single field is.
        retry_after_s: Seconds after which a retry may succeed, where someone said so.
        upstream_status: The HTTP status a provider answered with, where there was one.
        may_have_run: Whether a provider may have done (and billed) the work in spite of the failure.
            True unless the failure proves otherwise, so that nothing paid for is repeated.
        attempts: Every try that was made for the request, in order.
        usage, cost_usd: What the provider says that the failed work came to, where it does.
    """

    kind: ErrorKind
    message: str
    code: str
    param: str
    retry_after_s: float | None
    upstream_status: int | None
    may_have_run: bool
    attempts: tuple[Attempt, ...]
    usage: Usage | None
    cost_usd: float | None

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        code: str = "",
        param: str = "",
        retry_after_s: float | None = None,
        upstream_status: int | None = None,
        may_have_run: bool = True,
        attempts: Sequence[Attempt] = (),
        usage: Usage | None = None,
        cost_usd: float | None = None,
    ) -> None:
        super().__init__(message)
        self.__dict__.update(
            kind=kind,
            message=message,
            code=code,
            param=param,
            retry_after_s=retry_after_s,
            upstream_status=upstream_status,
            may_have_run=may_have_run,
            attempts=tuple(attempts),
            usage=usage,
            cost_usd=cost_usd,
        )

    def replaced(self, **changes: Any) -> GatewayError:
        """A copy with these arguments of the constructor changed. It keeps the cause, for the log."""
        copy = GatewayError(**{**self.__dict__, **changes})
        copy.__cause__ = self.__cause__
        return copy

    @property
    def may_be_billed(self) -> bool:
        """Whether a provider may have done the work: never where the request was refused before any call."""
        return self.may_have_run and self.kind not in _BEFORE_ANY_CALL

    def __setattr__(self, name: str, value: object) -> None:
        # Python itself sets __traceback__, __context__ and __notes__ on exceptions in flight.
        if not name.startswith("__"):
            raise AttributeError(f"GatewayError is frozen: {name} cannot be set; use replaced()")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"GatewayError({self.kind.name}, {self.message!r}, code={self.code!r}, param={self.param!r})"


def invalid(param: str, message: str, *, code: str = "") -> GatewayError:
    """An INVALID_REQUEST error about one field; its code defaults to ``invalid_<param>``."""
    return GatewayError(ErrorKind.INVALID_REQUEST, message, code=code or f"invalid_{param}", param=param)
