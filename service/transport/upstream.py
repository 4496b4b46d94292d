"""What the executor is given for a call to a provider, and what it gives back."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.core.calls import CallEvent, CallResult
from service.providers.base import Endpoint, Translator
from service.routing.backoff import Backoff
from service.transport.credentials import Credentials

Fetch = Callable[[str], Awaitable[bytes]]
"""Downloads a result from a URL that a provider chose. Raises GatewayError."""

Emit = Callable[[CallEvent], None]
"""Takes each image as soon as it is there, and every attempt as it ends, successful or not."""


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    """How patient and how persistent the executor is with one provider. Making images takes minutes.

    Attributes:
        attempt_timeout_s: Seconds for one attempt: the request that starts the work, and all polling for it.
        poll_timeout_s: Seconds for a single poll, which asks but does not work.
        max_retries: Most times that a request which surely did not run (or is free) is repeated after a wait.
            Trying the other keys comes on top of it, each once.
        max_retry_wait_s: Longest wait before such a retry; a longer one is left to the caller or the next target.
        max_polls: Most polls in one attempt.
        max_poll_failures: Most times in a row that one poll or download is repeated: the work behind it is paid for.
        max_response_bytes: Most bytes of an answer, decompressed.
        refused_key_rest_s: Seconds for which a key that the provider refused (401, 402, 403) is not used.
        cancel_timeout_s: Seconds for the request that stops abandoned work.
    """

    attempt_timeout_s: float = 300.0
    poll_timeout_s: float = 60.0
    max_retries: int = 2
    max_retry_wait_s: float = 30.0
    max_polls: int = 1000
    max_poll_failures: int = 5
    max_response_bytes: int = 100_000_000
    refused_key_rest_s: float = 300.0
    cancel_timeout_s: float = 5.0
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        for name in ("attempt_timeout_s", "poll_timeout_s", "cancel_timeout_s", "max_response_bytes", "max_polls"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be a number above 0, not {getattr(self, name)}")
        for name in (
            "max_retries",
            "max_retry_wait_s",
            "max_poll_failures",
            "refused_key_rest_s",
        ):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must be a number of at least 0, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Upstream:
    """One configured provider: its wire format, where it is, our keys there, and how to treat it.

    Attributes:
        headers: Further request headers of the operator's; they may be secret.
    """

    translator: Translator
    endpoint: Endpoint
    credentials: Credentials
    settings: ExchangeSettings = ExchangeSettings()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


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
