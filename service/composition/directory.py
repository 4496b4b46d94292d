"""From configuration and catalog to providers that can be called."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from service.catalog import catalog
from service.catalog.catalog import ProviderEntry
from service.catalog.profile import Profile
from service.composition.secrets import SecretFiles
from service.composition.transport import provider_way
from service.config import EMBEDDED_PROVIDER, Config, ProviderSettings, parse_target
from service.config.routes import SHIPPED_ALIASES
from service.core.values import Target
from service.gateway.backends.local import LocalBackend
from service.gateway.backends.remote import RemoteBackend
from service.gateway.directory import Alias, Directory, Provider
from service.providers.base import Credential, Endpoint
from service.providers.registry import translator
from service.routing.backoff import Backoff
from service.routing.breaker import BreakerPolicy, Breakers
from service.routing.retry import RetryPolicy
from service.routing.route import WeightedTarget
from service.transport.credentials import Credentials, WeightedCredential
from service.transport.executor import Executor
from service.transport.upstream import ExchangeSettings, Upstream

# Names that clients of the retired endpoint still ask for, besides dall-e-2. If no provider here serves a model of
# that name any more, it stands for the default route.
RETIRED_NAMES = ("dall-e-3", "gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "chatgpt-image-latest")

# The time before a model's end from which on its users are warned.
SUNSET_NOTICE = timedelta(days=60)


def make_breakers(config: Config) -> Breakers:
    """The circuits of all targets, closed."""
    return Breakers(BreakerPolicy(failures=config.breaker.failures, open_s=config.breaker.cooldown))


def make_directory(
    config: Config, local: LocalBackend, executor: Executor, secret_files: SecretFiles, breakers: Breakers | None = None
) -> Directory:
    """Every provider and alias that the configuration names; with direct keys, the rest of the catalog too.

    Args:
        secret_files: Follows the files that hold providers' keys.
        breakers: The targets' circuits. None: new ones, as ``make_breakers`` makes them.
    """
    entries = config.entries
    breakers = make_breakers(config) if breakers is None else breakers
    providers = []
    if config.engine.enabled:
        providers.append(Provider(EMBEDDED_PROVIDER, local, entries[EMBEDDED_PROVIDER].models))
    settings = {name: each for name, each in config.providers.items() if each.enabled}
    if config.allow_direct_keys:
        # Those that the operator has switched off stay off.
        usual = {
            name: ProviderSettings(type=name)
            for name, entry in entries.items()
            if entry.base_url and name not in config.providers
        }
        settings = {**usual, **settings}
    for name, each in settings.items():
        entry = each.entry(entries[each.type or name])
        # At an address of the operator's own, whether a key is needed is the operator's to know.
        needs_key = "" if each.base_url else _needs_key(name, entry)
        upstream = _upstream(name, entry, each, config)
        _follow_keys(each, upstream.credentials, secret_files)
        backend = RemoteBackend(upstream, executor, breakers, needs_key=needs_key)
        allow_raw = config.allow_raw if each.allow_raw is None else each.allow_raw
        providers.append(
            Provider(
                name,
                backend,
                _profiles(entry, each),
                # Of a server that speaks a vendor's format, the models are those that the operator lists, if any.
                default_profile=(
                    catalog.unlisted(entry) if entry.models or entry.self_hosted or not each.models else None
                ),
                concurrency=each.concurrency,
                checks_keys=bool(needs_key),
                allow_raw=allow_raw,
                always_raw=allow_raw and each.always_raw,
            )
        )
    aliases = {name: Alias(alias.weighted_targets, policy=alias.policy) for name, alias in config.aliases.items()}
    today = datetime.now(UTC).date()
    retired = {
        name
        for name in RETIRED_NAMES
        if name not in aliases and not any(_serves(provider, name, today) for provider in providers)
    }
    default = default_alias(config.default_route, aliases)
    aliases |= dict.fromkeys(retired, default)
    # dall-e-2 is an alias like any other once the configuration says what it stands for.
    stand_ins = retired | {name for name in SHIPPED_ALIASES if aliases.get(name) == default}
    unconfigured = {
        name: f"{name} is switched off (providers.{name}.enabled)."
        if name in config.providers
        else _needs_key(name, entry) or f"{name} is not configured: add providers.{name} to the configuration."
        for name, entry in entries.items()
        if name not in settings and name != EMBEDDED_PROVIDER
    }
    if not config.engine.enabled:
        unconfigured[EMBEDDED_PROVIDER] = "The embedded engine is switched off (engine.enabled)."
    return Directory(
        providers,
        aliases,
        config.default_route,
        unconfigured,
        random.random,
        stand_ins=frozenset(stand_ins),
        default_is_chosen="default_route" in config.model_fields_set,
    )


def _serves(provider: Provider, model: str, today: date) -> bool:
    profile = provider.profiles.get(model)
    return profile is not None and (profile.sunset is None or profile.sunset > today)


def default_alias(default_route: str, aliases: Mapping[str, Alias]) -> Alias:
    """The targets of the default route, as an alias."""
    return aliases.get(default_route) or Alias((WeightedTarget(_target(default_route)),))


def model_warnings(
    directory: Directory, today: date, engine_limitations: Sequence[str] = ()
) -> Mapping[Target, Sequence[str]]:
    """Sentences about models for ListModels and the log: their end, and the parts that the embedded engine lacks."""
    warnings = dict(sunset_warnings(directory, today))
    local = directory.providers.get(EMBEDDED_PROVIDER)
    if local is not None and engine_limitations:
        warnings |= {Target(EMBEDDED_PROVIDER, model): tuple(engine_limitations) for model in local.profiles}
    return warnings


def sunset_warnings(directory: Directory, today: date) -> Mapping[Target, Sequence[str]]:
    """Sentences about models that their provider no longer serves, or is about to stop serving."""
    return {
        Target(provider.name, model): (
            f"{provider.name} no longer serves {model} since {profile.sunset}."
            if profile.sunset <= today
            else f"{provider.name} will stop serving {model} on {profile.sunset}.",
        )
        for provider in directory.providers.values()
        for model, profile in provider.profiles.items()
        if profile.sunset is not None and profile.sunset <= today + SUNSET_NOTICE
    }


def _upstream(name: str, entry: ProviderEntry, settings: ProviderSettings, config: Config) -> Upstream:
    endpoint = Endpoint(
        provider=name,
        base_url=settings.base_url or entry.base_url,
        trusted_hosts=(*entry.trusted_hosts, *settings.trusted_hosts),
        options={**entry.options, **settings.options},
    )
    credentials = Credentials(
        [WeightedCredential(key.credential, key.weight, frozenset(key.models)) for key in settings.keys]
    )
    exchange = ExchangeSettings(
        max_response_bytes=config.limits.response_bytes,
        retry=RetryPolicy(
            attempt_timeout_s=settings.timeout or config.timeouts.attempt,
            max_retries=config.retries.max if settings.max_retries is None else settings.max_retries,
            backoff=Backoff(config.retries.backoff, config.retries.max_backoff),
        ),
    )
    headers = {header: value.get_secret_value() for header, value in settings.headers.items()}
    way = provider_way(settings, config)
    return Upstream(translator(entry.translator), endpoint, credentials, exchange, headers, way)


def _follow_keys(settings: ProviderSettings, credentials: Credentials, secret_files: SecretFiles) -> None:
    """Has the keys that are in files replaced when the files change."""
    for key in settings.keys:
        if key.file:
            credential = key.credential

            def renew(secret: str, credential: Credential = credential) -> None:
                credentials.renew(dataclasses.replace(credential, secret=secret))

            secret_files.follow(key.file, credential.secret, renew)


def _profiles(entry: ProviderEntry, settings: ProviderSettings) -> Mapping[str, Profile]:
    changed = {model: catalog.profile(entry, model, overrides.facts) for model, overrides in settings.models.items()}
    return {**entry.models, **changed}


def _needs_key(name: str, entry: ProviderEntry) -> str:
    """A sentence that tells how to give a provider a key; empty for those that work without one."""
    variables = entry.variables
    wanted = [*variables.secret, *(names[0] for names in variables.parts.values())]
    if not wanted:
        return ""
    return f"{name} has no key: set {' or '.join(variables.secret or wanted)}, or add providers.{name}.keys."


def _target(name: str) -> Target:
    target = parse_target(name)
    assert target is not None, "the configuration resolves every alias to provider/model"
    return target
