"""The names of a request's fields, and the sentences about names that are none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

TEXT_NAMES: Final = frozenset(
    {
        "model",
        "image_url",
        "size",
        "response_format",
        "user",
        "prompt",
        "output_format",
        "fit",
        "fit_ground",
        "quality",
        "background",
    }
)
NUMBER_NAMES: Final = frozenset({"n", "seed", "strength", "output_compression"})
NAMES: Final = tuple(sorted(TEXT_NAMES | NUMBER_NAMES | {"image", "fallbacks", "provider_options"}))
MOST_NAMES_TOLD: Final = 10
_MOST_PARAMETERS = 50
# Below this, two names have little in common; "siz" and "size" have 0.86, "imgae" and "image" 0.8.
_LEAST_LIKENESS = 0.66


def unknown_fields(names: Iterable[str]) -> list[str]:
    """A warning that names unknown fields, each with the known name that is nearest; nothing where there are none."""
    unknown = list(dict.fromkeys(name[:64] for name in names))
    if not unknown:
        return []
    told = ", ".join(_with_nearest(name) for name in unknown[:MOST_NAMES_TOLD])
    more = f" and {len(unknown) - MOST_NAMES_TOLD} more" if len(unknown) > MOST_NAMES_TOLD else ""
    return [f"Unknown fields were ignored: {told}{more}."]


def query_parameters(query: str) -> list[str]:
    """A warning about parameters of the URL that are named like fields; nothing where there are none."""
    try:
        given = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        return ["The URL's query was ignored: fields go into the body."]
    named = [name for name in dict.fromkeys(name for name, _ in given) if name in NAMES]
    if not named:
        return []
    return [f"Query parameters are not fields, and were ignored: {', '.join(named)}. Fields go into the body."]


def nearest_name(name: str) -> str:
    """The field that was probably meant; empty where none is near."""
    near = difflib.get_close_matches(name[:64].lower(), NAMES, 1, _LEAST_LIKENESS)
    return near[0] if near else ""


def _with_nearest(name: str) -> str:
    # The name is the caller's own, but it goes into one line of text: keep it printable.
    near = nearest_name(name)
    return f"{name!r} (did you mean {near}?)" if near else repr(name)
