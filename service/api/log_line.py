"""The one log line of a call."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Iterator

from service.api.call import Call

access_log = logging.getLogger("service.access")


def hashed(text: str) -> str:
    """A short, stable stand-in for a caller's identifier, so that log lines can be grouped by it."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16] if text else ""


@contextlib.contextmanager
def logged(call: Call) -> Iterator[None]:
    """Writes the one log line of a call, however it ends."""
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        call.outcome = "cancelled"
        raise
    finally:
        milliseconds = round((asyncio.get_running_loop().time() - call.begun) * 1000)
        fields = {"id": call.id, "method": call.method, **call.log, "outcome": call.outcome}
        access_log.info("request", extra={"fields": {**fields, "milliseconds": milliseconds}})
