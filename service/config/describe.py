"""Shows a configuration as the gateway understood it: YAML-like, secrets masked, each value with its origin."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel, SecretStr

from service.config.fields import Address
from service.config.models import AliasSettings, Config
from service.config.problems import Path
from service.config.providers import KeySettings, ProviderSettings
from service.config.units import show_bytes, show_seconds
from service.core.values import Size

_MASK = "***"
_COMMENT_COLUMN = 56
_PLAIN = re.compile(r"[A-Za-z./_-][A-Za-z0-9 ./_,;-]*|[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BYTES = frozenset({"request_bytes", "response_bytes", "max_bytes"})
_SECONDS = frozenset(
    {"request_timeout", "backoff", "max_backoff", "connect", "attempt", "cooldown", "expires_after", "timeout", "ttl"}
)


def describe(config: Config) -> str:
    """The configuration in the shape of the file. What stands behind ``#`` says where a value came from:
    ``default``, the file and line, or the environment variable.
    """
    return "\n".join(_Describer(config).section(config, ())) + "\n"


class _Describer:
    def __init__(self, config: Config) -> None:
        self._document = config.document

    def section(self, section: BaseModel, path: Path) -> Iterator[str]:
        # Of a provider or key only what differs is worth a line: most have a dozen settings left alone.
        brief = isinstance(section, ProviderSettings | KeySettings) or section.__class__.__name__.endswith("Overrides")
        for name, field in section.__class__.model_fields.items():
            value = getattr(section, name)
            if not brief or (value != field.get_default(call_default_factory=True) and name != "env"):
                yield from self._setting(name, value, (*path, name))

    def _setting(self, name: str, value: Any, path: Path) -> Iterator[str]:
        indent = "  " * (len(path) - 1)
        if isinstance(value, AliasSettings):
            yield self._line(indent, name, self._alias(value), path)
        elif isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from self.section(value, path)
        elif isinstance(value, Mapping) and value:
            yield f"{indent}{name}:"
            for key, item in value.items():
                yield from self._setting(str(key), item, (*path, key))
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            yield f"{indent}{name}:"
            for position, item in enumerate(value):
                lines = [line.removeprefix("  " * (len(path) + 1)) for line in self.section(item, (*path, position))]
                yield from (f"{indent}  {'  ' if number else '- '}{line}" for number, line in enumerate(lines))
        else:
            yield self._line(indent, name, self._scalar(name, value, path), path)

    def _line(self, indent: str, name: str, text: str, path: Path) -> str:
        return (
            f"{indent}{name}: {self._document.redacted(text)}".ljust(_COMMENT_COLUMN - 1) + f" # {self._origin(path)}"
        )

    def _alias(self, alias: AliasSettings) -> str:
        if alias.policy == "weighted":
            shares = ", ".join(f"{{model: {target.model}, weight: {target.weight:g}}}" for target in alias.targets)
            return f"{{policy: weighted, targets: [{shares}]}}"
        models = [target.model for target in alias.targets]
        if alias.policy != "order":
            return f"{{policy: {alias.policy}, targets: [{', '.join(models)}]}}"
        return models[0] if len(models) == 1 else f"[{', '.join(models)}]"

    def _scalar(self, name: str, value: Any, path: Path) -> str:
        if isinstance(value, SecretStr):
            return _MASK
        # The expansion of a placeholder may be a secret that landed in the wrong place.
        written = self._document.placeholders.get(self._document.nearest(path))
        if written is not None:
            return json.dumps(written)
        if isinstance(value, tuple):
            return f"[{', '.join(self._scalar(name, item, (*path, index)) for index, item in enumerate(value))}]"
        if value is None or isinstance(value, Mapping):
            return "{}" if isinstance(value, Mapping) else "(none)"
        if isinstance(value, bool):
            return str(value).lower()
        if name in _BYTES:
            return show_bytes(value)
        if name in _SECONDS:
            return show_seconds(value)
        if isinstance(value, float):
            return f"{value:g}"
        if isinstance(value, Address | Size | int):
            return str(value)
        text = str(value.value if isinstance(value, Enum) else value)
        return text if _PLAIN.fullmatch(text) and text not in ("true", "false", "null") else json.dumps(text)

    def _origin(self, path: Path) -> str:
        named = (*path[:-1], "env")
        if path[-1] == "value" and named in self._document.lines:
            return f"{self._origin(named)}, environment {self._raw(named)}"
        place = self._document.nearest(path)
        if place in self._document.variables and place == path:
            return f"environment {self._document.variables[place]}"
        written = self._document.placeholders.get(place)
        if place == path or written is not None or not isinstance(self._raw(place), dict | None):
            origin = f"{self._document.source}:{self._document.lines[place]}" if place in self._document.lines else ""
            return f"{origin}, {written}" if origin and written else origin or "default"
        return "default"

    def _raw(self, place: Path) -> Any:
        value: Any = self._document.values
        for part in place:
            value = value[part]
        return value if place else None
