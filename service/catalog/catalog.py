"""Facts of providers and their models, as frozen values made from the catalogue's documents."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from service.catalog import documents
from service.catalog.profile import Price, Profile, PromptRule
from service.core.values import WRITTEN_FORMATS, ImageFormat, Size

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
        hosts: Further hosts that are the vendor's own: exact names, or suffixes that start with a dot.
        default_model: An example; always one of ``models``.
        default_profile: What the models have in common, and what is assumed of those that the catalog does not list.
    """

    name: str
    title: str
    translator: str
    base_url: str
    hosts: tuple[str, ...]
    trusted_hosts: tuple[str, ...]
    variables: Variables
    options: Mapping[str, str]
    default_model: str
    notes: str
    default_profile: Profile
    models: Mapping[str, Profile]

    @property
    def self_hosted(self) -> bool:
        """Whether its users run it themselves, at addresses and with models of their own."""
        return urlsplit(self.base_url).hostname == "127.0.0.1"


@functools.cache
def load(overlay: Path | None = None) -> Mapping[str, ProviderEntry]:
    """The catalog that ships with the service, read once.

    Args:
        overlay: A file of the operator's, whose facts go before ours.

    Raises:
        ValueError: The overlay cannot be read or makes no sense; names file, provider, model and key.
    """
    sections = documents.shipped()
    return _entries(sections if overlay is None else documents.laid_over(sections, documents.overlay(overlay)))


def parse(text: str) -> Mapping[str, ProviderEntry]:
    """The catalog written in ``text``, sections by provider name.

    Raises:
        ValueError: A key is unknown or missing, or a value makes no sense; names provider, model and key.
    """
    return _entries(_mapping(documents.read(text, "catalog"), "catalog"))


def profile(entry: ProviderEntry, model: str, overrides: Mapping[str, Any] = _NO_OVERRIDES) -> Profile:
    """The profile of a model: the catalog's facts, or the provider's usual ones for a model that it does not list.

    Nothing is known of an unlisted model's price, unless the provider is free, nor of its end.

    Args:
        overrides: Fields of Profile that differ, as values of the fields' types or as the catalog writes them.

    Raises:
        ValueError: An override is unknown or makes no sense; names provider, model and key.
    """
    base = listed(entry.models, model) or unlisted(entry)
    made = _profile(overrides, base, f"{entry.name}/{model}")
    if "price" in overrides or made.free == base.free:
        return made
    # A price of nothing goes with what is free, and with nothing else.
    return dataclasses.replace(made, price=Price() if made.free else None)


def listed(models: Mapping[str, Profile], model: str) -> Profile | None:
    """The facts of a model in a list, or of the model that a fixed version (``owner/name:version``) is one of."""
    return models.get(model) or models.get(model.partition(":")[0])


def unlisted(entry: ProviderEntry) -> Profile:
    """The profile assumed of a provider's model that the catalog does not list."""
    usual = entry.default_profile
    return dataclasses.replace(usual, price=usual.price if usual.free else None, sunset=None, source="", checked=None)


def is_vendors(entry: ProviderEntry, base_url: str) -> bool:
    """Whether an address is one of the vendor's own, so that its models, prices and ends hold there."""
    if not base_url or base_url == entry.base_url:
        return True
    host = urlsplit(base_url).hostname or ""
    known = (urlsplit(entry.base_url).hostname or "", *entry.hosts, *entry.trusted_hosts)
    return any(host == each or (each.startswith(".") and host.endswith(each)) for each in known if each)


def elsewhere(entry: ProviderEntry) -> ProviderEntry:
    """The entry for a server that speaks the vendor's format but is not the vendor: no models, no price, no end."""
    return dataclasses.replace(entry, models=MappingProxyType({}), default_profile=unlisted(entry))


class _Profiles:
    """The profiles of all sections. One may be ``like: provider`` or ``like: provider/model`` and differ from that."""

    def __init__(self, sections: Mapping[str, Any]) -> None:
        self._sections = sections

    def default(self, provider: str, trail: tuple[str, ...] = ()) -> Profile:
        facts = _mapping(self._sections[provider], provider).get("default_profile", {})
        return self._made(facts, Profile(), f"{provider}/default_profile", trail)

    def model(self, provider: str, name: str, trail: tuple[str, ...] = ()) -> Profile:
        facts = _mapping(_mapping(self._sections[provider], provider).get("models", {}), f"{provider}/models")[name]
        return self._made(facts, None, f"{provider}/{name}", trail)

    def _made(self, facts: Any, base: Profile | None, where: str, trail: tuple[str, ...]) -> Profile:
        own = dict(_mapping(facts, where))
        like = own.pop("like", None)
        if like is None:
            return _profile(own, base if base is not None else self.default(where.partition("/")[0], trail), where)
        provider, slash, model = like.partition("/") if isinstance(like, str) else ("", "", "")
        section = self._sections.get(provider)
        known = isinstance(section, Mapping) and (not slash or model in (section.get("models") or {}))
        if not known or where in trail:
            raise ValueError(f"{where}/like: must name a provider or provider/model of the catalog, not {like!r}")
        trail = (*trail, where)
        return _profile(own, self.model(provider, model, trail) if slash else self.default(provider, trail), where)


def _entries(sections: Mapping[str, Any]) -> Mapping[str, ProviderEntry]:
    profiles = _Profiles(sections)
    return MappingProxyType({name: _entry(name, section, profiles) for name, section in sections.items()})


def _entry(name: str, value: Any, profiles: _Profiles) -> ProviderEntry:
    known: dict[str, Callable[[Any, str], Any]] = {
        "title": _text,
        "translator": _text,
        "base_url": _base_url,
        "hosts": _texts,
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
    fields: dict[str, Any] = {
        "base_url": "",
        "hosts": (),
        "trusted_hosts": (),
        "variables": Variables(),
        "options": {},
        "notes": "",
    }
    fields |= {key: read(section[key], f"{name}/{key}") for key, read in known.items() if key in section}
    for required in ("title", "translator", "default_model"):
        if not fields.get(required):
            raise ValueError(f"{name}: {required} is missing")
    models = {model: profiles.model(name, model) for model in _mapping(section.get("models", {}), f"{name}/models")}
    if fields["default_model"] not in models:
        raise ValueError(f"{name}: default_model {fields['default_model']!r} is not among its models")
    default = profiles.default(name)
    return ProviderEntry(name=name, default_profile=default, models=MappingProxyType(models), **fields)


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
    if not made.sizes and (least > most or least * least > made.max_pixels or made.min_pixels > made.max_pixels):
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
        return tuple(WRITTEN_FORMATS[WRITTEN_FORMATS.index(item)] for item in _list(value, where))
    except ValueError:
        raise ValueError(f"{where}: must be a list of {', '.join(WRITTEN_FORMATS)}, not {value!r}") from None


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
