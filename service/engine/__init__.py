"""The embedded variation engine. Knows nothing of the gateway; importing it is cheap, its first use is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.engine.engine import (
    AUTOMATIC_SIDE,
    IDEAS,
    LARGEST_SIDE,
    MODELS,
    SMALLEST_SIDE,
    STYLES,
    Cancelled,
    automatic_size,
    availability,
    configure,
    limitations,
    never,
    vary,
    warm_up,
)

if TYPE_CHECKING:
    from service.engine.analysis import Source

__all__ = [
    "AUTOMATIC_SIDE",
    "IDEAS",
    "LARGEST_SIDE",
    "MODELS",
    "SMALLEST_SIDE",
    "STYLES",
    "Cancelled",
    "Source",
    "automatic_size",
    "availability",
    "configure",
    "limitations",
    "never",
    "vary",
    "warm_up",
]


def __getattr__(name: str) -> Any:
    # Source brings numpy and OpenCV with it, which an idle service should not have in memory.
    if name == "Source":
        from service.engine.analysis import Source

        return Source
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
