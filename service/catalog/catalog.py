"""Reads catalog.yaml: what is known of providers and their models, as frozen values.

The reading is strict, so that a typing mistake in a fact is found by the first test and not by a customer.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any, get_type_hints

import yaml

from service.catalog.profile import Price, Profile, PromptRule
from service.core.values import ImageFormat, Size

EMBEDDED_TRANSLATOR = "embedded"
"""Stands where a provider is no HTTP API but the engine inside this service."""

_NO_OVERRIDES: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Variables:
    """Names of environment variables that a vendor's own tools read; of several, the first one set wins.

    Attributes:
        secret: Names that hold the API key.
        parts: Per part of the credential, its names; together they do where there is no ``secret``.
        optional_parts: Parts to be taken along if set.
        base_url: Names that hold the base URL.
        options: Per wire-format option, its names.
    """

    secret: tuple[str, ...] = ()
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    optional_parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base_url: tuple[str, ...] = ()
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    """One provider of the catalog.

    Attributes:
        translator: A row of the registry, or EMBEDDED_TRANSLATOR.
        base_url: Without a trailing slash; empty where the configuration has to say.
        default_model: An example; always one of ``models``.
        default_profile: For models that the catalog does not list.
    """

    name: str
    title: str
    translator: str
    base_url: str
    trusted_hosts: tuple[str, ...]
    variables: Variables
    options: Mapping[str, str]
    default_model: str
    notes: str
    default_profile: Profile
    models: Mapping[str, Profile]


@functools.cache
def load() -> Mapping[str, ProviderEntry]:
    """The catalog that ships with the service, read once."""
    return parse(importlib.resources.files(__package__).joinpath("catalog.yaml").read_text(encoding="utf-8"))


def parse(text: str) -> Mapping[str, ProviderEntry]:
    """The catalog written in ``text``, by provider name.

    Raises:
        ValueError: A key is unknown or missing, or a value makes no sense; names provider, model and key.
    """
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506  # a subclass of SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"catalog: {error}") from error
    sections = _mapping(document, "catalog")
    return MappingProxyType({name: _entry(name, section) for name, section in sections.items()})


def profile(entry: ProviderEntry, model: str, overrides: Mapping[str, Any] = _NO_OVERRIDES) -> Profile:
    """What a model can do: the catalog's facts, or the provider's default for a model it does not list.

    Args:
        overrides: Fields of Profile that differ, as values of the fields' types or as the catalog writes them.

    Raises:
        ValueError: An override is unknown or makes no sense; names provider, model and key.
    """
    return _profile(overrides, entry.models.get(model, entry.default_profile), f"{entry.name}/{model}")


class _Loader(yaml.SafeLoader):
    """A SafeLoader that does not let a repeated key win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        repeated = next((key for key in keys if keys.count(key) > 1), None)
        if repeated is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {repeated!r} is repeated", node.start_mark)
        return super().construct_mapping(node, deep)


def _entry(name: str, value: Any) -> ProviderEntry:
    known: dict[str, Callable[[Any, str], Any]] = {
        "title": _text,
        "translator": _text,
        "base_url": _base_url,
        "trusted_hosts": _texts,
        "variables": _variables,
        "options": _options,
        "default_model": _text,
        "notes": _text,
    }
    section = _mapping(value, name)
    for key in section:
        if key not in (*known, "default_profile", "models"):
            raise ValueError(f"{name}: unknown key {key!r}")
    fields: dict[str, Any] = {"base_url": "", "trusted_hosts": (), "variables": Variables(), "options": {}, "notes": ""}
    fields |= {key: read(section[key], f"{name}/{key}") for key, read in known.items() if key in section}
    for required in ("title", "translator", "default_model"):
        if not fields.get(required):
            raise ValueError(f"{name}: {required} is missing")
    default_profile = _profile(section.get("default_profile", {}), Profile(), f"{name}/default_profile")
    models = {
        model: _profile(facts, default_profile, f"{name}/{model}")
        for model, facts in _mapping(section.get("models", {}), f"{name}/models").items()
    }
    if fields["default_model"] not in models:
        raise ValueError(f"{name}: default_model {fields['default_model']!r} is not among its models")
    return ProviderEntry(name=name, default_profile=default_profile, models=MappingProxyType(models), **fields)


def _profile(facts: Any, base: Profile, where: str) -> Profile:
    """``base`` with the facts laid over it."""
    changes: dict[str, Any] = {}
    for key, value in _mapping(facts, where).items():
        if key not in _PROFILE_READERS:
            raise ValueError(f"{where}: unknown key {key!r}")
        changes[key] = _PROFILE_READERS[key](value, f"{where}/{key}")
    made = dataclasses.replace(base, **changes)
    least = -(-made.min_side // made.size_multiple) * made.size_multiple
    most = made.max_side // made.size_multiple * made.size_multiple
    if not made.sizes and (least > most or least * least > made.max_pixels):
        raise ValueError(f"{where}: no size satisfies min_side, max_side, max_pixels and size_multiple")
    if not made.input_formats:
        raise ValueError(f"{where}/input_formats: at least one is needed")
    return made


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{where}: must be a mapping with text keys")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where}: must be text, not {value!r}")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    return tuple(_text(item, where) for item in _list(value, where))


def _list(value: Any, where: str) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where}: must be a list, not {value!r}")
    return value


def _base_url(value: Any, where: str) -> str:
    url = _text(value, where)
    if not url.startswith(("https://", "http://")) or url.endswith("/"):
        raise ValueError(f"{where}: must be an http(s) URL without a trailing slash, not {url!r}")
    return url


def _options(value: Any, where: str) -> Mapping[str, str]:
    return MappingProxyType({name: _text(each, f"{where}/{name}") for name, each in _mapping(value, where).items()})


def _variables(value: Any, where: str) -> Variables:
    read: dict[str, Any] = {}
    for key, names in _mapping(value, where).items():
        if key in ("secret", "base_url"):
            read[key] = _texts(names, f"{where}/{key}")
        elif key in ("parts", "optional_parts", "options"):
            each = _mapping(names, f"{where}/{key}")
            read[key] = MappingProxyType({name: _texts(these, f"{where}/{key}/{name}") for name, these in each.items()})
        else:
            raise ValueError(f"{where}: unknown key {key!r}")
    return Variables(**read)


def _count(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{where}: must be a whole number from 1, not {value!r}")
    return value


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{where}: must be true or false, not {value!r}")
    return value


def _size(value: Any, where: str) -> Size:
    if isinstance(value, Size):
        return value
    width, cross, height = value.partition("x") if isinstance(value, str) else ("", "", "")
    if not (cross and width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise ValueError(f"{where}: must be WIDTHxHEIGHT in pixels, not {value!r}")
    return Size(_count(int(width), where), _count(int(height), where))


def _sizes(value: Any, where: str) -> tuple[Size, ...]:
    return tuple(_size(item, where) for item in _list(value, where))


def _formats(value: Any, where: str) -> tuple[ImageFormat, ...]:
    try:
        return tuple(ImageFormat(item) for item in _list(value, where))
    except ValueError:
        raise ValueError(f"{where}: must be a list of {', '.join(ImageFormat)}, not {value!r}") from None


def _prompt_rule(value: Any, where: str) -> PromptRule:
    try:
        return PromptRule(value)
    except ValueError:
        raise ValueError(f"{where}: must be none, optional or required, not {value!r}") from None


def _price(value: Any, where: str) -> Price | None:
    if value is None or isinstance(value, Price):
        return value
    terms = _mapping(value, where)
    names = {each.name for each in dataclasses.fields(Price)}
    for name, amount in terms.items():
        if name not in names:
            raise ValueError(f"{where}: unknown key {name!r}")
        if not isinstance(amount, int | float) or isinstance(amount, bool) or not 0 <= amount < float("inf"):
            raise ValueError(f"{where}/{name}: must be an amount in USD, not {amount!r}")
    return Price(**{name: float(amount) for name, amount in terms.items()})


def _date(value: Any, where: str) -> date | None:
    if value is not None and type(value) is not date:
        raise ValueError(f"{where}: must be a date such as 2026-12-31, not {value!r}")
    return value


_READERS: Mapping[Any, Callable[[Any, str], Any]] = {
    int: _count,
    bool: _flag,
    str: _text,
    tuple[Size, ...]: _sizes,
    tuple[ImageFormat, ...]: _formats,
    PromptRule: _prompt_rule,
    Price | None: _price,
    date | None: _date,
}
# A field of a type that has no reader fails here, at import.
_PROFILE_READERS = {name: _READERS[hint] for name, hint in get_type_hints(Profile).items()}
