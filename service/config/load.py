"""Makes the one Config out of the defaults, the file and the environment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from service.catalog import catalog as shipped_catalog
from service.catalog.catalog import EMBEDDED_TRANSLATOR, ProviderEntry
from service.config import explain
from service.config.access_checks import check_access
from service.config.document import MAX_BYTES, Document, read_document
from service.config.fields import parse_address
from service.config.models import EMBEDDED_PROVIDER, Config
from service.config.problems import ConfigError, Problem, did_you_mean
from service.config.providers import ProviderSettings
from service.config.routes import Resolver, preferred_default, unusable_targets
from service.config.vendors import find
from service.providers.registry import translator

DEFAULT_FILE = Path("gateway.yaml")

_PROXY_VARIABLES = {"proxy": ("HTTPS_PROXY", "https_proxy"), "no_proxy": ("NO_PROXY", "no_proxy")}
_PORTS = {"GRPC_PORT": "grpc", "HTTP_PORT": "http"}
# The sections that are checked against each other, once each of them is sound by itself.
_CROSS_CHECKED = frozenset({"default_route", "aliases", "providers", "engine"})


def load(
    path: Path | None,
    environment: Mapping[str, str],
    *,
    catalog: Mapping[str, ProviderEntry] | None = None,
) -> Config:
    """Reads the configuration.

    The environment (GRPC_PORT, HTTP_PORT, STATE_DIRECTORY) goes before the file, the file before the defaults.
    A provider whose usual variables are set is there without being in the file, and so is a proxy (HTTPS_PROXY,
    NO_PROXY).

    Args:
        path: The file; it has to exist. None: ``gateway.yaml`` in the working directory, if there is one.
        catalog: The types of provider there are. None: the catalog that ships with the service.

    Raises:
        ConfigError: With everything that is wrong, each with its place.
    """
    document = _read(path, environment)
    _override(document, environment)
    _add_proxy(document, environment)
    entries = _catalog(document) if catalog is None else catalog
    types = {name: entry for name, entry in entries.items() if entry.translator != EMBEDDED_TRANSLATOR}
    _add_vendors(document, environment, types)
    config = _validate(document, environment)
    if config is not None:
        config._entries = entries
        config = _cross_check(config, document, types)
    if document.problems or config is None:
        raise ConfigError(document.problems)
    # The attributes that are not settings are filled in by the one maker of this class.
    config._document = document
    config._warnings = tuple(document.redacted(warning) for warning in unusable_targets(config, types))
    return config


def _read(path: Path | None, environment: Mapping[str, str]) -> Document:
    file = path or DEFAULT_FILE
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if path is None:
            return Document("defaults")
        raise ConfigError([Problem(str(file), 0, "", "there is no such file")]) from None
    except IsADirectoryError:
        raise ConfigError([Problem(str(file), 0, "", "is a directory, not a file")]) from None
    except OSError as error:
        raise ConfigError([Problem(str(file), 0, "", f"cannot be read: {error.strerror}")]) from None
    return read_document(str(file), data, environment)


def _catalog(document: Document) -> Mapping[str, ProviderEntry]:
    """The catalogue, with the file that the configuration names laid over it."""
    overlay = document.values.get("catalog")
    if not overlay or not isinstance(overlay, str):
        return shipped_catalog.load()
    try:
        return shipped_catalog.load(Path(overlay).expanduser())
    except ValueError as error:
        document.report(("catalog",), str(error))
        return shipped_catalog.load()


def _override(document: Document, environment: Mapping[str, str]) -> None:
    """Puts the variables that the gateway itself reads in the place of what the file says."""
    for variable, surface in _PORTS.items():
        port = environment.get(variable, "").strip()
        if not port:
            continue
        if not (port.isascii() and port.isdigit() and int(port[:6]) <= 65535):
            document.problems.append(
                Problem(f"environment variable {variable}", 0, "", "must be a port from 0 to 65535")
            )
            continue
        section = _section(document.values, "listen")
        if section is None:
            continue
        default = Config.model_fields["listen"].get_default()
        try:
            host = parse_address(section.get(surface) or getattr(default, surface)).host
        except ValueError:
            # The file is wrong; that is reported as such.
            continue
        section[surface] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        document.variables["listen", surface] = variable
    # systemd gives several directories, separated by colons, when a unit asks for several.
    directory = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if directory:
        document.values["state_directory"] = directory
        document.variables["state_directory",] = "STATE_DIRECTORY"


def _add_proxy(document: Document, environment: Mapping[str, str]) -> None:
    """Adds the proxy that the usual variables name, where the file says nothing of one."""
    section = _section(document.values, "outbound")
    if section is None:
        return
    for field, names in _PROXY_VARIABLES.items():
        name = next((name for name in names if environment.get(name, "").strip()), "")
        if not name or section.get(field) is not None:
            continue
        value = environment[name].strip()
        if field == "proxy":
            section[field] = value if "://" in value else f"http://{value}"
        else:
            section[field] = [host for entry in value.split(",") if (host := entry.strip())]
        document.variables["outbound", field] = name


def _section(values: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The mapping under a key, made if it is absent or empty; None where something else stands there."""
    if values.get(name) is None:
        values[name] = {}
    section = values[name]
    return section if isinstance(section, dict) else None


def _add_vendors(document: Document, environment: Mapping[str, str], types: Mapping[str, ProviderEntry]) -> None:
    """Adds what the vendors' usual variables say of providers that the file gives no key for."""
    providers = _section(document.values, "providers")
    if providers is None:
        return
    for name in [*providers, *(name for name in types if name not in providers)]:
        entry = providers.get(name)
        if entry is not None and not isinstance(entry, dict):
            continue
        provider_type = entry.get("type") or name if entry else name
        if not isinstance(provider_type, str) or provider_type not in types:
            continue
        # A key from the shell goes to its vendor only, never to an address that the file names.
        if entry and (entry.get("keys") or entry.get("base_url") or entry.get("enabled") is False):
            continue
        found = find(types[provider_type].variables, environment)
        if found is None:
            continue
        own_options = (entry or {}).get("options") or {}
        merged = {**(entry or {}), **found.settings}
        if isinstance(own_options, dict):
            merged["options"] = {**found.settings.get("options", {}), **own_options}
        providers[name] = merged
        for place, variable in found.origins.items():
            if place[0] != "options" or place[1] not in own_options:
                document.variables["providers", name, *place] = variable
        if entry is None:
            document.variables["providers", name] = next(iter(found.origins.values()))


def _validate(document: Document, environment: Mapping[str, str]) -> Config | None:
    """The settings, each checked by itself; on errors, None, or those sections that the cross-checks need."""
    context = {"environment": environment}
    try:
        return Config.model_validate(document.values, context=context)
    except ValidationError as error:
        explain.report(document, error)
        wrong = {finding["loc"][0] for finding in error.errors(include_url=False) if finding["loc"]}
    if wrong & _CROSS_CHECKED:
        return None
    sound = {name: value for name, value in document.values.items() if name in _CROSS_CHECKED}
    return Config.model_validate(sound, context=context)


def _cross_check(config: Config, document: Document, types: Mapping[str, ProviderEntry]) -> Config:
    """Checks what one section says of another, and fills in what follows from it."""
    for name, provider in config.providers.items():
        _check_provider(document, name, provider, types)
    check_access(document, config)
    if document.values.get("default_route") is None:
        preferred = preferred_default(config, types, datetime.now(UTC).date())
        config = config.model_copy(update={"default_route": preferred or config.default_route})
        # Chosen for the operator, not by the operator: callers are told of it.
        config.model_fields_set.discard("default_route")
    aliases, errors = Resolver(config, {EMBEDDED_PROVIDER, *config.providers, *types}).resolve()
    for error in errors:
        document.report(document.nearest(error.path) or error.path, str(error))
    providers = {
        name: provider.model_copy(update={"type": provider.type or name}) for name, provider in config.providers.items()
    }
    return config.model_copy(update={"aliases": aliases, "providers": MappingProxyType(providers)})


def _check_provider(
    document: Document, name: str, provider: ProviderSettings, types: Mapping[str, ProviderEntry]
) -> None:
    provider_type = provider.type or name
    entry = types.get(provider_type)
    if entry is None:
        path = ("providers", name, "type") if provider.type else ("providers", name)
        advice = "" if provider.type else ", and no type is given"
        hint = did_you_mean(provider_type, types)
        document.report(path, f"{provider_type!r} is not a known type of provider{advice}{hint}")
        return
    try:
        translator(entry.translator)
    except LookupError as error:
        document.report(("providers", name), str(error))
    if provider.enabled and not (provider.base_url or entry.base_url):
        document.report(("providers", name), f"needs a base_url: every {entry.title} has its own")
    for model, overrides in provider.models.items():
        try:
            shipped_catalog.profile(provider.entry(entry), model, overrides.facts)
        except ValueError as error:
            document.report(("providers", name, "models", model), f"makes no sense: {error}")
