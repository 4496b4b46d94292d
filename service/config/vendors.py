"""The environment variables that vendors' own tools read, so that a key in the shell is all it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from service.catalog.catalog import Variables


@dataclass(frozen=True, slots=True)
class Found:
    """The environment's settings of one provider, raw, each with the variable that it came from."""

    settings: Mapping[str, Any]
    origins: Mapping[tuple[str | int, ...], str]


def find(variables: Variables, environment: Mapping[str, str]) -> Found | None:
    """The settings that the environment holds for a provider, or None when they are not complete."""
    origins: dict[tuple[str | int, ...], str] = {}

    def first(names: Iterable[str], *path: str | int) -> str | None:
        for name in names:
            if environment.get(name, "").strip():
                origins[path] = name
                return name
        return None

    base_url = first(variables.base_url, "base_url")
    if variables.base_url and base_url is None:
        return None
    secret = first(variables.secret, "keys", 0, "value")
    if secret is not None:
        key: dict[str, Any] = {"name": secret, "env": secret}
    else:
        names = {part: first(options, "keys", 0, "parts", part) for part, options in variables.parts.items()}
        if not names or None in names.values():
            return None
        names |= {part: first(options, "keys", 0, "parts", part) for part, options in variables.optional_parts.items()}
        key = {"name": "environment", "parts": {part: environment[name] for part, name in names.items() if name}}
    settings: dict[str, Any] = {"keys": [key]}
    if base_url is not None:
        settings["base_url"] = environment[base_url].strip()
    options = {option: first(names, "options", option) for option, names in variables.options.items()}
    if any(options.values()):
        settings["options"] = {option: environment[name].strip() for option, name in options.items() if name}
    return Found(settings, origins)
