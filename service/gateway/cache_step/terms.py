"""On which terms a request may use the cache: what it wishes, what the operator decides, whose entries, and which."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.cache.cache import Lookup
from service.core.values import Target, VariationRequest
from service.governance.callers import Caller, CallerKind
from service.governance.keys import CacheScope

DEFAULT_NAMESPACE: Final = "default"
_SHARED: Final = "shared"


@dataclass(frozen=True, slots=True)
class CacheDirectives:
    """What a request says about the cache.

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
    """What the operator decides about the cache.

    Attributes:
        threshold: The least similarity of a semantic hit, where the request says none.
        ttl_s: How long results are served again, at most.
        default_prompt: Stands in for a missing prompt, so it decides what a result looks like.
        share_without_key: Whether callers without a virtual key share with all others who share; otherwise each
            token is by itself, and so are those who need no credential.
        direct_keys: Whether it serves callers who bring a provider's own key, each by themselves.
    """

    threshold: float
    ttl_s: float
    default_prompt: str
    share_without_key: bool = False
    direct_keys: bool = False


def scope_of(caller: Caller, settings: CacheSettings) -> str | None:
    """Whose entries a caller reads and writes; None: nobody's."""
    match caller.kind:
        case CallerKind.VIRTUAL_KEY:
            assert caller.key is not None, "that is what its kind says"
            if caller.key.cache_scope is CacheScope.SHARED:
                return _SHARED
            if caller.key.cache_scope is CacheScope.TEAM and caller.key.team:
                return f"team:{caller.key.team}"
            # Not by its name: the holder of another key of that name is somebody else.
            return f"key:{caller.key.digest.hex()}"
        case CallerKind.DIRECT:
            if not settings.direct_keys:
                return None
            return f"direct:{hashlib.sha256(caller.direct_key.encode('utf-8', 'surrogatepass')).hexdigest()}"
        case CallerKind.TOKEN:
            return _SHARED if settings.share_without_key else f"token:{caller.name}"
        case CallerKind.ANYBODY:
            return _SHARED if settings.share_without_key else "anybody"


def parameters_of(
    request: VariationRequest, route: Sequence[str], targets: Sequence[Target], default_prompt: str
) -> Mapping[str, Any]:
    """Everything but the source that decides what a result looks like.

    The response format does not: links are made anew for every answer. Nor does the caller's end user.
    """
    return {
        "route": list(route),
        # Sorted: an alias by weight is drawn anew for every request, and a hit on any of its targets will do.
        "targets": sorted({str(target) for target in targets}),
        "n": request.n,
        "size": str(request.size or "auto"),
        "output_format": request.output_format.value,
        "prompt": request.prompt or default_prompt,
        "strength": request.strength,
        "seed": request.seed,
        "quality": request.quality,
        "background": request.background,
        "provider_options": request.provider_options,
    }
