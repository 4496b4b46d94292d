"""On which terms a request may use the cache: what it wishes, what the operator decides, whose entries, and which."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from service.cache.cache import Lookup
from service.core.values import Size, Target, VariationRequest
from service.governance.callers import Caller, CallerKind
from service.governance.keys import CacheScope

DEFAULT_NAMESPACE: Final = "default"
_SHARED: Final = "shared"


@dataclass(frozen=True, slots=True)
class CacheDirectives:
    """The cache directives of a request.

    Attributes:
        namespace: A part of the caller's own cache.
        ttl_s: How long its result may be served again, if that is less than the operator's time.
        lookup: In which ways its result may be looked up.
        threshold: The least similarity of a semantic hit. None: the operator's.
        no_store: Whether it wants a fresh result, and that one not kept.
    """

    namespace: str = DEFAULT_NAMESPACE
    ttl_s: float | None = None
    lookup: Lookup = Lookup.BOTH
    threshold: float | None = None
    no_store: bool = False


NO_DIRECTIVES: Final = CacheDirectives()


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """The operator's settings for the cache.

    Attributes:
        threshold: The least similarity of a semantic hit, where the request says none.
        ttl_s: How long results are served again, at most.
        default_prompt: Stands in for a missing prompt, so it decides what a result looks like.
        share_without_key: Whether callers without a virtual key share with all others who share; otherwise each
            token is by itself, and so are those who need no credential.
        similar_when_shared: Whether similar pictures count as the same in a scope that several callers share. Such a
            caller may get what was made for a picture that it never had.
        direct_keys: Whether it serves callers who bring a provider's own key, each by themselves.
    """

    threshold: float
    ttl_s: float
    default_prompt: str
    share_without_key: bool = False
    direct_keys: bool = False
    similar_when_shared: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """The entries that a caller reads and writes; ``shared``: other callers do so, too."""

    name: str
    shared: bool = False


def scope_of(caller: Caller, settings: CacheSettings) -> Scope | None:
    """The scope of a caller; None: the cache is not for this caller."""
    match caller.kind:
        case CallerKind.VIRTUAL_KEY:
            assert caller.key is not None, "that is what its kind says"
            if caller.key.cache_scope is CacheScope.SHARED:
                return Scope(_SHARED, shared=True)
            if caller.key.cache_scope is CacheScope.TEAM and caller.key.team:
                return Scope(f"team:{caller.key.team}", shared=True)
            # Not by its name: the holder of another key of that name is somebody else.
            return Scope(f"key:{caller.key.digest.hex()}")
        case CallerKind.DIRECT:
            if not settings.direct_keys:
                return None
            return Scope(f"direct:{hashlib.sha256(caller.direct_key.encode('utf-8', 'surrogatepass')).hexdigest()}")
        case CallerKind.TOKEN:
            return Scope(_SHARED, shared=True) if settings.share_without_key else Scope(f"token:{caller.name}")
        case CallerKind.ANYBODY:
            return Scope(_SHARED, shared=True) if settings.share_without_key else Scope("anybody")


def terms_of(
    directives: CacheDirectives, scope: Scope, settings: CacheSettings
) -> tuple[Lookup, float, tuple[str, ...]]:
    """The ways in which a result is looked up, the least similarity, and warnings about what was not done as asked.

    A request may be choosier than the operator, never less so.
    """
    lookup, warnings = directives.lookup, []
    if scope.shared and not settings.similar_when_shared and Lookup.SEMANTIC in lookup:
        if lookup is Lookup.SEMANTIC:
            warnings.append("This cache is shared with others: only the very same picture is looked up in it.")
        lookup = Lookup.DIRECT
    threshold = directives.threshold
    if threshold is not None and threshold < settings.threshold:
        warnings.append(
            f"The cache's threshold can be raised only: {settings.threshold:g} counts, not the {threshold:g} asked for."
        )
    return lookup, max(settings.threshold, threshold or 0.0), tuple(warnings)


# Fields of a request that change no picture, or are in the key by another name: the source by its pixels, the model and
# the fallbacks by the route. Every other field counts, so that a new one cannot be forgotten.
_CHANGES_NO_PICTURE: Final = frozenset(
    {"model", "fallbacks", "image", "image_url", "response_format", "user", "raw", "warnings"}
)


def parameters_of(
    request: VariationRequest, route: Sequence[str], targets: Sequence[Target], default_prompt: str
) -> Mapping[str, Any]:
    """Everything but the source that decides what a result looks like, as JSON values.

    The response format does not: links are made anew for every answer. Nor does the caller's end user.
    """
    fields = {
        each.name: _json_value(getattr(request, each.name))
        for each in dataclasses.fields(request)
        if each.name not in _CHANGES_NO_PICTURE
    }
    return fields | {
        "prompt": request.prompt or default_prompt,
        "route": list(route),
        # Sorted: an alias by weight is drawn anew for every request, and a hit on any of its targets will do.
        "targets": sorted({str(target) for target in targets}),
    }


def _json_value(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Size):
        return str(value)
    return value
