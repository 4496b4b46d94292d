"""Checks the default route and the aliases, and resolves aliases of aliases."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

from service.catalog.catalog import ProviderEntry
from service.config.models import EMBEDDED_PROVIDER, MOST_TARGETS, AliasSettings, AliasTarget, Config, parse_target
from service.config.problems import Path, did_you_mean

SHIPPED_ALIASES = ("dall-e-2",)
"""Names that stand for the default route: what clients of the retired original endpoint ask for."""


class RouteError(ValueError):
    """A route that cannot be resolved, and where in the settings."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


class Resolver:
    """Resolves the aliases of one configuration.

    Args:
        known_providers: Every provider name that a target may use, configured or not.
    """

    def __init__(self, config: Config, known_providers: Collection[str]) -> None:
        shipped = {name: AliasSettings(targets=(AliasTarget(model=config.default_route),)) for name in SHIPPED_ALIASES}
        self._aliases: Mapping[str, AliasSettings] = {**shipped, **config.aliases}
        self._configured = config.aliases
        self._known_providers = known_providers
        self._default_route = config.default_route

    def resolve(self) -> tuple[Mapping[str, AliasSettings], tuple[RouteError, ...]]:
        """Every alias with targets that are all ``provider/model``, and what is wrong with the others."""
        resolved: dict[str, AliasSettings] = {}
        errors: list[RouteError] = []
        for name, alias in self._aliases.items():
            path = self._place(name)
            try:
                if "/" in name or not name.strip() or not name.isprintable():
                    raise RouteError(path, "the name of an alias must be printable and without a slash")
                resolved[name] = self._flatten(alias, path, (name,))
            except RouteError as error:
                errors.append(error)
        # By themselves once more, so that every wrong target is told and not only an alias's first.
        for text, path, trail in self._written_targets():
            try:
                self._targets_of(text, path, trail)
            except RouteError as error:
                errors.append(error)
        # The same place is reached from every alias that leads to it.
        return MappingProxyType(resolved), tuple({error.path: error for error in reversed(errors)}.values())

    def _place(self, alias: str) -> Path:
        return ("aliases", alias) if alias in self._configured else ("default_route",)

    def _written_targets(self) -> Iterator[tuple[str, Path, tuple[str, ...]]]:
        yield self._default_route, ("default_route",), ()
        for name, alias in self._configured.items():
            for position, target in enumerate(alias.targets):
                yield target.model, ("aliases", name, "targets", position, "model"), (name,)

    def _flatten(self, alias: AliasSettings, path: Path, trail: tuple[str, ...]) -> AliasSettings:
        """The alias with the targets of other aliases in place of their names; weights are shared out."""
        targets: list[AliasTarget] = []
        for position, target in enumerate(alias.targets):
            place = (*path, "targets", position, "model") if path != ("default_route",) else path
            inner = self._targets_of(target.model, place, trail)
            if len(inner.targets) > 1 and len(alias.targets) > 1 and inner.policy != alias.policy:
                raise RouteError(place, f"{target.model!r} has another policy, so it cannot be one of several targets")
            if len(alias.targets) == 1:
                return inner
            total = sum(each.weight for each in inner.targets)
            targets += [
                AliasTarget(model=each.model, weight=target.weight * each.weight / total if total else 0.0)
                for each in inner.targets
            ]
            # Checked while they add up: aliases of aliases can double at every level.
            if len(targets) > MOST_TARGETS:
                raise RouteError(place, f"the alias stands for more than {MOST_TARGETS} targets")
        return AliasSettings(targets=tuple(targets), policy=alias.policy)

    def _targets_of(self, name: str, path: Path, trail: tuple[str, ...]) -> AliasSettings:
        if name in trail:
            cycle = (*trail[trail.index(name) :], name)
            raise RouteError(path, f"the alias leads back to itself: {' -> '.join(cycle)}")
        if name in self._aliases:
            return self._flatten(self._aliases[name], self._place(name), (*trail, name))
        target = parse_target(name)
        if target is None:
            raise RouteError(
                path, f"{name!r} is neither provider/model nor an alias{did_you_mean(name, self._configured)}"
            )
        if target.provider not in self._known_providers:
            hint = did_you_mean(target.provider, self._known_providers)
            raise RouteError(path, f"there is no provider {target.provider!r}{hint}")
        return AliasSettings(targets=(AliasTarget(model=name),))


def unusable_targets(config: Config, types: Mapping[str, ProviderEntry]) -> tuple[str, ...]:
    """A sentence for each target that the default route or an alias leads to and that cannot be called now."""
    usable = {name for name, provider in config.providers.items() if provider.enabled}
    if config.engine.enabled:
        usable.add(EMBEDDED_PROVIDER)
    default = config.aliases.get(config.default_route) or AliasSettings(
        targets=(AliasTarget(model=config.default_route),)
    )
    routes = {"the default route": default} | {f"the alias {name!r}": alias for name, alias in config.aliases.items()}
    sentences: list[str] = []
    for name, alias in routes.items():
        for each in alias.targets:
            provider = each.target.provider
            if provider not in usable:
                sentences.append(f"{name} leads to {each.model}, but {_reason(config, provider, types)}")
    return tuple(dict.fromkeys(sentences))


def _reason(config: Config, provider: str, types: Mapping[str, ProviderEntry]) -> str:
    if provider == EMBEDDED_PROVIDER:
        return "the embedded engine is off (engine.enabled)"
    if provider in config.providers:
        return f"providers.{provider} is not enabled"
    variables = types[provider].variables
    names = [*variables.secret[:1], *variables.base_url[:1]]
    instead = f", nor {' with '.join(names)} in the environment" if names else ""
    return f"there is no providers.{provider}{instead}"
