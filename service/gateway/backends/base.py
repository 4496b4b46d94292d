"""The interface of everything that makes variations: the embedded engine, and providers reached over HTTP.

A backend can be wrapped by another one with the same interface: metrics and traces of calls are such wrappers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from service.catalog.profile import Profile
from service.core.calls import CallEvent, CallResult, ProviderCall
from service.core.errors import GatewayError


@dataclass(frozen=True, slots=True)
class CallContext:
    """The circumstances of one call to a backend.

    Attributes:
        deadline: The event loop's time at which the caller stops waiting.
        emit: Takes each image as soon as it is there, and each attempt as it ends.
        raw: Whether the exchange with the provider is to be returned, redacted.
        direct_key: The caller's own provider key, to be used in place of ours. Empty: none.
        key_names: Those of our keys that may be used. Empty: all.
        turn_ends: The event loop's time at which the target's share of the caller's time ends; infinite: it has all.
    """

    deadline: float
    emit: Callable[[CallEvent], None]
    raw: bool = False
    direct_key: str = field(default="", repr=False)
    key_names: frozenset[str] = frozenset()
    turn_ends: float = math.inf


@dataclass(frozen=True, slots=True)
class CallReport:
    """The end of one call that succeeded; its images have been emitted by then."""

    result: CallResult
    raw_request: Any = field(default=None, repr=False)
    raw_response: Any = field(default=None, repr=False)


class Backend(Protocol):
    """Makes variations with one configured provider."""

    def unavailable(self, *, direct_key: bool = False) -> GatewayError | None:
        """Why it cannot be used at all (not installed, no key); None when it can.

        Args:
            direct_key: Whether the caller brings a key of their own.
        """
        ...

    def admit(self, model: str) -> GatewayError | None:
        """Why a model is left alone just now; None when it may be tried, with as many calls as that takes.

        Once admitted, the try's end must be reported with ``tried``, exactly once.
        """
        ...

    def tried(self, model: str, failure: GatewayError | None) -> None:
        """Takes the end of a try that was admitted: what it failed with, None when it made images."""
        ...

    async def vary(self, call: ProviderCall, profile: Profile, context: CallContext) -> CallReport:
        """Makes the images of one call, emitting each. Cancelling it stops the work, upstream too.

        Raises:
            GatewayError: The call failed. Images emitted before stay valid.
        """
        ...
