"""The executor's input for a call to a provider, and its output."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.core.calls import CallEvent, CallResult
from service.providers.base import Endpoint, Translator
from service.routing.retry import RetryPolicy
from service.transport.credentials import Credentials
from service.transport.way import DIRECT, Way

Fetch = Callable[[str], Awaitable[bytes]]
"""Downloads a result from a URL that a provider chose. Raises GatewayError."""

EmitCallEvent = Callable[[CallEvent], None]
"""Takes each image as soon as it is there, and every attempt as it ends, successful or not."""


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    """The executor's settings for one provider.

    Attributes:
        poll_timeout_s: Seconds for a single poll, which asks but does not work.
        max_response_bytes: Most bytes of an answer, decompressed.
        cancel_timeout_s: Seconds for the request that stops abandoned work.
        retry: The timeouts and retries.
    """

    poll_timeout_s: float = 60.0
    max_response_bytes: int = 100_000_000
    cancel_timeout_s: float = 5.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        for name in ("poll_timeout_s", "cancel_timeout_s", "max_response_bytes"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be a number above 0, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Upstream:
    """One configured provider: its wire format, where it is, our keys there, and how to treat it.

    Attributes:
        headers: Further request headers of the operator's; they may be secret.
        way: How it is reached.
    """

    translator: Translator
    endpoint: Endpoint
    credentials: Credentials
    settings: ExchangeSettings = ExchangeSettings()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    way: Way = DIRECT


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """The end of a call that succeeded.

    Attributes:
        result: Every image in it has its bytes. Images that could not be downloaded are left out, with a warning.
        raw_request: The body that started the work, and
        raw_response: the body of the last answer; redacted, None unless asked for.
    """

    result: CallResult
    raw_request: Any = field(default=None, repr=False)
    raw_response: Any = field(default=None, repr=False)
