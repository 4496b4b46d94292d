"""One call from its arrival to its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.api.status import STATUS
from service.core.errors import GatewayError
from service.governance.callers import ANYBODY, Caller

# Seconds kept back from the caller's deadline for the answer's way.
_ANSWER_S = 0.1


@dataclass(slots=True)
class Call:
    """One call from its arrival to its answer.

    Attributes:
        begun: The event loop's time at which it arrived.
        deadline: The event loop's time at which its answer is of no more use.
        transcoded: Whether it came through Envoy's JSON side.
        base_url: Where the caller reached us, for links.
        credential: What the caller brought along, whatever it is worth. Empty: nothing.
        origin: The origin of the web page that called, where one did.
        query: The query of the URL that it came to, through Envoy's JSON side. Fields are never in it.
        idempotency_key: The caller's name for the request, so that it is done once; None: there is none.
        sidecar_attempt: How often a proxy has sent this request, with the id that it has; 0: none says so.
        content_encoding: How the body of a REST request is compressed; empty: it is not.
        http_method: Of a REST request, where it is none that Envoy made of it.
        range: The part of a file that a REST request asks for, as its header says.
        cache_headers: Those of the request's headers that are about the cache.
        caller: Who that is, once it is known.
        headers: Response headers, sent with the answer whether it succeeds or fails.
        log: Further fields of its log line.
        outcome: ``success``, ``cancelled``, or the code of the error it was answered with.
        error: The error it was answered with; None: there was none so far.
        provider_seconds: The time in which a provider was at work for it.
        bytes_in, bytes_out: Of a request for variations, and of the answer to it.
    """

    id: str
    method: str
    begun: float
    deadline: float
    transcoded: bool
    base_url: str
    raw: bool
    credential: str = field(default="", repr=False)
    origin: str = ""
    query: str = ""
    content_encoding: str = ""
    http_method: str = ""
    range: str = ""
    idempotency_key: str | None = field(default=None, repr=False)
    sidecar_attempt: int = 0
    cache_headers: Mapping[str, str] = field(default_factory=dict)
    caller: Caller = ANYBODY
    headers: dict[str, str] = field(default_factory=dict)
    log: dict[str, Any] = field(default_factory=dict)
    outcome: str = "success"
    error: GatewayError | None = None
    provider_seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def work_deadline(self) -> float:
        """The deadline of the work: a little earlier, so that its answer is there before the caller's timer ends."""
        return self.deadline - min(_ANSWER_S, 0.1 * max(0.0, self.deadline - self.begun))

    def failed(self, error: GatewayError) -> None:
        """Notes the error that it is answered with, for the log line."""
        self.error = error
        self.outcome = error.code or STATUS[error.kind].code
        self.log["error"] = error.kind.value
