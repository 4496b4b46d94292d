"""Listens to the events of a request and keeps its response headers and its log line true."""

from __future__ import annotations

import asyncio
from typing import Any

from service.api.call import Call
from service.core.calls import AttemptEnded
from service.core.values import Attempt, Target
from service.gateway.events import AttemptStarted, CacheConsulted, Emit, Event, LimitStanding, RequestEnded


def observed_by(call: Call, *, in_headers: bool = True) -> Emit:
    """A listener that writes to ``call`` as things happen, so that failures tell the last target, too.

    Args:
        in_headers: Whether the response headers name the target, and not only the log line.
    """

    # The time up to which a provider's time has been counted. Calls run side by side: each second counts once.
    told_until = 0.0

    def add_provider_time(attempt: Attempt) -> None:
        nonlocal told_until
        now = asyncio.get_running_loop().time()
        call.provider_seconds += max(0.0, min(attempt.latency_ms / 1000, now - told_until))
        told_until = now

    def name(target: Target, fallback_index: int) -> None:
        if in_headers:
            call.headers |= {
                "x-provider": target.provider,
                "x-model": _header_value(target.model),
                "x-fallback-index": str(fallback_index),
            }
        call.log |= {"provider": target.provider, "model_used": target.model, "fallback_index": fallback_index}

    def note(event: Event) -> None:
        match event:
            case LimitStanding():
                call.headers |= event.standing.headers()
            case CacheConsulted():
                call.headers["x-cache"] = call.log["cache"] = "miss" if event.target is None else "hit"
                if event.target is not None:
                    name(event.target, event.fallback_index)
            case AttemptStarted():
                name(event.target, event.fallback_index)
            case AttemptEnded():
                add_provider_time(event.attempt)
                call.log.setdefault("attempts", []).append(_logged(event.attempt))
            case RequestEnded() if event.outcome is not None:
                # A target that failed after another made images is not the one that made them.
                name(event.outcome.target, event.outcome.fallback_index)
                call.log["images"] = len(event.outcome.images)

    return note


def _logged(attempt: Attempt) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "target": f"{attempt.provider}/{attempt.model}",
        "outcome": attempt.outcome,
        "milliseconds": attempt.latency_ms,
    }
    if attempt.key:
        fields["key"] = attempt.key
    if attempt.status is not None:
        fields["status"] = attempt.status
    return fields


def _header_value(text: str) -> str:
    """Model names may come from the caller; a header takes printable ASCII only."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if " " <= character <= "~" else "?" for character in text)
