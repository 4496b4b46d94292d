"""Waiting for other processes, which have no event of ours to set."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_until(happened: Callable[[], Any], within_s: float = 10.0) -> None:
    """Asks again and again until the answer is true.

    Raises:
        AssertionError: It was not in time.
    """
    end = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)  # noqa: TID251 - waits for another process, not on an event loop
