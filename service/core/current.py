"""The request that the running code works for: known in every layer, in every task and on every worker thread."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestIdentity:
    """Names a request in logs and traces.

    Attributes:
        id: The request id that the caller is told.
        traceparent: The caller's W3C trace context, as it came. Empty: none.
    """

    id: str
    traceparent: str = ""


current_request: ContextVar[RequestIdentity | None] = ContextVar("current_request", default=None)
"""None outside a request, such as in periodic work. Tasks inherit it; the pools of service.concurrency hand it on."""
