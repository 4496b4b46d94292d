"""The environment variables that vendors' own tools read, so that a key in the shell is all it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class VendorVariables:
    """Which variables configure one type of provider. Of several names for one thing the first one set wins.

    Attributes:
        secret: Names that hold the API key.
        parts: Per part of the credential, its names; together they do where there is no ``secret``.
        optional_parts: Parts to be taken along if set.
        base_url: Names that hold the base URL. Where there are any, one has to be set.
        options: Per wire-format option, its names.
    """

    secret: tuple[str, ...] = ()
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    optional_parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base_url: tuple[str, ...] = ()
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


VENDOR_VARIABLES: Mapping[str, VendorVariables] = MappingProxyType(
    {
        "openai": VendorVariables(secret=("OPENAI_API_KEY",)),
        "azure": VendorVariables(secret=("AZURE_OPENAI_API_KEY",), base_url=("AZURE_OPENAI_ENDPOINT",)),
        "gemini": VendorVariables(secret=("GEMINI_API_KEY", "GOOGLE_API_KEY")),
        "recraft": VendorVariables(secret=("RECRAFT_API_KEY", "RECRAFT_API_TOKEN")),
        "fal": VendorVariables(secret=("FAL_KEY",)),
        "replicate": VendorVariables(secret=("REPLICATE_API_TOKEN",)),
        "bfl": VendorVariables(secret=("BFL_API_KEY",)),
        "deepinfra": VendorVariables(secret=("DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN")),
        "stability": VendorVariables(secret=("STABILITY_API_KEY",)),
        "ideogram": VendorVariables(secret=("IDEOGRAM_API_KEY",)),
        "xai": VendorVariables(secret=("XAI_API_KEY",)),
        "bedrock": VendorVariables(
            secret=("AWS_BEARER_TOKEN_BEDROCK",),
            parts=MappingProxyType(
                {"access_key_id": ("AWS_ACCESS_KEY_ID",), "secret_access_key": ("AWS_SECRET_ACCESS_KEY",)}
            ),
            optional_parts=MappingProxyType({"session_token": ("AWS_SESSION_TOKEN",)}),
            options=MappingProxyType({"region": ("AWS_REGION", "AWS_DEFAULT_REGION")}),
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Found:
    """What the environment says of one provider, as raw settings, and the variable each of them came from."""

    settings: Mapping[str, Any]
    origins: Mapping[tuple[str | int, ...], str]


def find(variables: VendorVariables, environment: Mapping[str, str]) -> Found | None:
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
