"""Digests of everything that decides what a result looks like: they tell whether two requests are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

# Changes when the meaning of a digest does, so that entries of an older version are never found.
_VERSION: Final = "2"


def pixel_digest(pixels: npt.NDArray[np.uint8]) -> bytes:
    """32 bytes that tell pictures apart by their decoded pixels: height x width x channels, 3 or 4 of them.

    How a file was encoded, and what else it holds, makes no difference. A picture with an alpha channel is
    another one than the same picture without.
    """
    height, width, channels = pixels.shape
    return strips_digest((height, width, channels), (pixels,))


def strips_digest(shape: tuple[int, int, int], strips: Iterable[npt.NDArray[np.uint8]]) -> bytes:
    """The ``pixel_digest`` of a picture that comes in strips of whole rows, from the top.

    Args:
        shape: The picture's height, width and channels.
    """
    hashed = hashlib.sha256(repr(shape).encode())
    for strip in strips:
        hashed.update(np.ascontiguousarray(strip).data)
    return hashed.digest()


def bucket_digest(scope: str, namespace: str, parameters: Mapping[str, Any]) -> bytes:
    """32 bytes that stand for a tenant, their namespace, and every parameter. Entries are shared within one only.

    Args:
        parameters: JSON values. The order of keys makes no difference; 1 and 1.0 do not either.
    """
    text = json.dumps([_VERSION, scope, namespace, _canonical(parameters)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def direct_digest(bucket: bytes, pixels: bytes) -> bytes:
    """32 bytes that stand for one request: its bucket and its picture's ``pixel_digest``."""
    return hashlib.sha256(bucket + pixels).digest()


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _canonical(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
