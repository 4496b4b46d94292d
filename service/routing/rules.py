"""The actions that each kind of failure allows, as one table without a default arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from service.core.errors import ErrorKind


class RetrySame(Enum):
    """Whether the same target may be asked again.

    None of these ever repeats a request that may have been paid for: the executor checks that besides.
    """

    NO = "no"
    OTHER_KEY = "other_key"
    OTHER_KEY_OR_WAIT = "other_key_or_wait"
    AFTER_BACKOFF = "after_backoff"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the failure table.

    Attributes:
        retry_same: How the same target may be asked again for work that was not done.
        retry_poll: Whether a question about work that is under way may be asked again. It costs nothing, so this
            is more generous.
        next_target: Whether the route goes on to its next target.
        breaker_counts: Whether the failure speaks against the health of the target.
    """

    retry_same: RetrySame = RetrySame.NO
    retry_poll: bool = False
    next_target: bool = False
    breaker_counts: bool = False


_FINAL = Rule()

RULES: Mapping[ErrorKind, Rule] = MappingProxyType(
    {
        # Another target would be sent the same wrong request.
        ErrorKind.INVALID_REQUEST: _FINAL,
        ErrorKind.REQUEST_TOO_LARGE: _FINAL,
        ErrorKind.UNSUPPORTED_MEDIA_TYPE: _FINAL,
        ErrorKind.UNAUTHENTICATED: _FINAL,
        ErrorKind.PERMISSION_DENIED: _FINAL,
        ErrorKind.BUDGET_EXCEEDED: _FINAL,
        ErrorKind.NOT_FOUND: _FINAL,
        ErrorKind.KEY_REUSED: _FINAL,
        ErrorKind.RANGE_NOT_SATISFIABLE: _FINAL,
        ErrorKind.UNSUPPORTED: Rule(next_target=True),
        # Shopping refused content around is for the operator to allow: RoutePolicy.
        ErrorKind.CONTENT_REJECTED: _FINAL,
        ErrorKind.UPSTREAM_AUTH: Rule(retry_same=RetrySame.OTHER_KEY, next_target=True),
        ErrorKind.RATE_LIMITED: Rule(retry_same=RetrySame.OTHER_KEY_OR_WAIT, retry_poll=True, next_target=True),
        ErrorKind.UNAVAILABLE: Rule(
            retry_same=RetrySame.AFTER_BACKOFF, retry_poll=True, next_target=True, breaker_counts=True
        ),
        ErrorKind.TIMEOUT: Rule(retry_poll=True, next_target=True, breaker_counts=True),
        ErrorKind.BAD_RESPONSE: Rule(retry_poll=True, next_target=True, breaker_counts=True),
        ErrorKind.MODEL_GONE: Rule(next_target=True),
        ErrorKind.TIME_SHARE_USED: Rule(next_target=True),
        # The next target may be one that needs no connection.
        ErrorKind.OUT_OF_RESOURCES: Rule(retry_same=RetrySame.AFTER_BACKOFF, retry_poll=True, next_target=True),
        # The caller's time ran out: a further target has none left, and the last one is not to blame.
        ErrorKind.DEADLINE_EXCEEDED: _FINAL,
        # Nobody waits for an answer any more.
        ErrorKind.CANCELLED: _FINAL,
        ErrorKind.INTERNAL: _FINAL,
    }
)
