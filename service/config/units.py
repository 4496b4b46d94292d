"""Reads sizes in bytes and durations, with or without a unit."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_BYTES: dict[str, int] = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
}
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s?([A-Za-z]*)")


def parse_bytes(value: Any) -> int:
    """A number of bytes from ``52428800``, ``"50MiB"`` or ``"50 MB"`` (10**6 and 2**20 bytes are told apart).

    Raises:
        ValueError: It is not one.
    """
    amount = _quantity(value, _BYTES, "a size such as 50MiB, 50MB or 52428800")
    if amount != int(amount):
        raise ValueError("must be a whole number of bytes")
    return int(amount)


def parse_seconds(value: Any) -> float:
    """Seconds from ``600``, ``"600s"``, ``"10m"``, ``"500ms"``, ``"1h"`` or ``"1d"``.

    Raises:
        ValueError: It is not a duration.
    """
    return float(_quantity(value, _SECONDS, "a duration such as 600s, 10m, 1h or 500ms"))


def show_bytes(amount: int) -> str:
    """The shortest exact way to write a number of bytes: ``50MiB``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        factor = _BYTES[unit.lower()]
        if amount and amount % factor == 0:
            return f"{amount // factor}{unit}"
    return str(amount)


def show_seconds(seconds: float) -> str:
    """The shortest exact way to write a duration: ``10m``, ``600ms``."""
    for unit in ("d", "h", "m", "s"):
        count = seconds / _SECONDS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    return f"{seconds * 1000:g}ms" if seconds < 1 else f"{seconds:g}s"


def _quantity(value: Any, units: Mapping[str, float], expected: str) -> float:
    # bool is an int to Python, and `true` is no size.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"must be {expected}")
    if isinstance(value, int | float):
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"must be {expected}")
        return value
    match = _QUANTITY.fullmatch(value)
    factor = units.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(f"must be {expected}")
    number = match[1]
    # Bytes are counted exactly, so whole numbers stay integers.
    return float(number) * factor if "." in number else int(number) * factor
