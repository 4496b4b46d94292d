"""When to try again, for failures about which nobody has said so."""

from __future__ import annotations

from service.core.errors import ErrorKind, GatewayError

# Answered with 429 or 503, which always say when to come back.
_TEMPORARY = frozenset({ErrorKind.RATE_LIMITED, ErrorKind.UNAVAILABLE, ErrorKind.OUT_OF_RESOURCES})
_SHORTEST_HINT_S = 1.0


def with_retry_hint(error: GatewayError, seconds: float = 0.0) -> GatewayError:
    """The error with ``retry_after_s``, for one that is temporary and has none; otherwise the error itself.

    A failure that may have been billed gets none: nobody is to repeat it.

    Args:
        seconds: The hint; at least a second is told.
    """
    lacks_one = error.retry_after_s is None and error.kind in _TEMPORARY
    if not lacks_one or (error.may_have_run and error.kind is not ErrorKind.RATE_LIMITED):
        return error
    hinted = error.replaced(retry_after_s=max(_SHORTEST_HINT_S, seconds))
    hinted.__cause__ = error.__cause__
    return hinted
