"""Time and chance, as one value that a test can replace."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def _loop_now() -> float:
    return asyncio.get_running_loop().time()


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    """The transport's source of time and randomness.

    Attributes:
        now: A monotonic instant in seconds, the running event loop's time; deadlines are instants of it.
        sleep: Waits for that many seconds.
        draw: A number uniform in [0, 1), to spread retries and choose among keys: no secret depends on it.
        utc_now: The date and time, for schemes that sign it.
    """

    now: Callable[[], float] = _loop_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    draw: Callable[[], float] = random.random
    utc_now: Callable[[], datetime] = _utc_now


SYSTEM_CLOCK = Clock()
