"""Reads a request's ``x-bf-cache-*`` headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from service.cache.cache import Lookup
from service.core.errors import GatewayError, invalid
from service.gateway.cache_step.terms import DEFAULT_NAMESPACE, CacheDirectives

NAMESPACE_HEADER: Final = "x-bf-cache-key"
TTL_HEADER: Final = "x-bf-cache-ttl"
TYPE_HEADER: Final = "x-bf-cache-type"
THRESHOLD_HEADER: Final = "x-bf-cache-threshold"
NO_STORE_HEADER: Final = "x-bf-cache-no-store"
PREFIX: Final = "x-bf-cache-"

# Characters without a meaning of their own in a path, as namespaces are deleted by path.
_NAMESPACE = re.compile(r"(?!\.\.?$)[A-Za-z0-9._~:@-]{1,128}")
_TTL = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_THRESHOLD = re.compile(r"0?\.[0-9]{1,9}|1(\.0{1,9})?")
_LOWEST_THRESHOLD = 0.5
_TYPES = {"direct": Lookup.DIRECT, "semantic": Lookup.SEMANTIC}
_TRUTH = {"true": True, "false": False}


def cache_directives(headers: Mapping[str, str]) -> CacheDirectives:
    """The wishes in a request's headers, whose names are in lower case.

    Raises:
        GatewayError: INVALID_REQUEST ``invalid_header`` for one that cannot be understood, which it names.
    """
    if not any(name.startswith(PREFIX) for name in headers):
        return CacheDirectives()
    return CacheDirectives(
        namespace=checked_namespace(headers.get(NAMESPACE_HEADER, DEFAULT_NAMESPACE)),
        ttl_s=_ttl_s(headers.get(TTL_HEADER)),
        lookup=_lookup(headers.get(TYPE_HEADER)),
        threshold=_threshold(headers.get(THRESHOLD_HEADER)),
        no_store=_no_store(headers.get(NO_STORE_HEADER)),
    )


def checked_namespace(text: str, name: str = NAMESPACE_HEADER) -> str:
    """A namespace's name, wherever it came from; GatewayError INVALID_REQUEST where it cannot be one."""
    if not _NAMESPACE.fullmatch(text):
        raise _bad(name, "1 to 128 characters out of letters, digits and . _ ~ : @ -")
    return text


def _ttl_s(text: str | None) -> float | None:
    if text is None:
        return None
    match = _TTL.fullmatch(text)
    if match is None:
        raise _bad(TTL_HEADER, "a duration such as 300, 90s, 30m, 12h or 7d; without a unit it is in seconds")
    return int(match[1]) * _SECONDS[match[2] or "s"]


def _lookup(text: str | None) -> Lookup:
    if text is None:
        return Lookup.BOTH
    if text not in _TYPES:
        raise _bad(TYPE_HEADER, "direct or semantic")
    return _TYPES[text]


def _threshold(text: str | None) -> float | None:
    if text is None:
        return None
    if not _THRESHOLD.fullmatch(text) or float(text) < _LOWEST_THRESHOLD:
        raise _bad(THRESHOLD_HEADER, f"a number from {_LOWEST_THRESHOLD} (unrelated pictures) to 1 (the same bits)")
    return float(text)


def _no_store(text: str | None) -> bool:
    if text is None:
        return False
    if text.lower() not in _TRUTH:
        raise _bad(NO_STORE_HEADER, "true or false")
    return _TRUTH[text.lower()]


def _bad(header: str, wanted: str) -> GatewayError:
    where = "The header " if header.startswith(PREFIX) else ""
    code = "invalid_header" if where else ""
    return invalid(header, f"{where}{header} must be {wanted}.", code=code)
