"""The meaning of names: from a request's model and fallbacks to the targets they stand for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from service.catalog.catalog import listed
from service.catalog.pricing import estimated_usd
from service.catalog.profile import Profile
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Target, VariationRequest
from service.gateway.backends.base import Backend
from service.governance.keys import VirtualKey
from service.routing.ordering import AliasPolicy, Standings, cheapest, fastest, least_busy
from service.routing.route import WeightedTarget, weighted_order

_MOST_NAMES_LISTED = 40


@dataclass(frozen=True, slots=True)
class Provider:
    """One configured provider.

    Attributes:
        profiles: The models that are listed, by name.
        default_profile: What is assumed of models that are not listed; None refuses them.
        concurrency: Most calls that run at a time, those of all requests together; None: no limit.
        checks_keys: Whether it refuses requests with a wrong key: a vendor does, a server of the operator's may not.
        allow_raw: Whether callers may see the exchange with it.
        always_raw: Whether every answer shows it.
    """

    name: str
    backend: Backend
    profiles: Mapping[str, Profile]
    default_profile: Profile | None = None
    concurrency: int | None = None
    checks_keys: bool = False
    allow_raw: bool = False
    always_raw: bool = False


@dataclass(frozen=True, slots=True)
class Alias:
    """A name of the operator's for one or more targets.

    ``policy``: in which order they are tried.
    """

    targets: tuple[WeightedTarget, ...]
    policy: AliasPolicy = AliasPolicy.ORDER


class Directory:
    """Every provider and alias of this gateway.

    Args:
        default_route: What requests without a model mean: an alias or ``provider/model``.
        unconfigured: Providers that could be used but are not, each with a sentence that tells what is missing.
        draw: A source of numbers in [0, 1) for aliases with a draw in their policy.
        stand_ins: Names of retired models that stand for the default route.
        default_is_chosen: Whether the operator said what the default route is, so that it needs no warning where no
            model is named.

    Attributes:
        standings: How the targets have been doing, for aliases that go by it.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        aliases: Mapping[str, Alias],
        default_route: str,
        unconfigured: Mapping[str, str],
        draw: Callable[[], float],
        *,
        stand_ins: Collection[str] = (),
        default_is_chosen: bool = False,
    ) -> None:
        self.providers = {provider.name: provider for provider in providers}
        self.aliases = aliases
        self.default_route = default_route
        self.standings = Standings()
        self._unconfigured = unconfigured
        self._stand_ins = frozenset(stand_ins)
        self._default_is_chosen = default_is_chosen
        self._draw = draw

    def route(
        self,
        model: str,
        fallbacks: Sequence[str],
        key: VirtualKey | None = None,
        request: VariationRequest | None = None,
    ) -> tuple[Target, ...]:
        """The targets to try, in order: those of ``model``, then those of each fallback.

        Args:
            key: Leaves out what it may not use of an alias or of the providers that have a model, and puts the rest
                in an order drawn by its weights, if it has any. None: everything may be used.
            request: What aliases that go by price estimate the price of. None: one image of the usual size.

        Raises:
            GatewayError: NOT_FOUND ``model_not_found`` for a name that means nothing here, listing what exists;
                PERMISSION_DENIED for a name of which nothing may be used.
        """
        targets = list(self._allowed(model or self.default_route, "model", key, request))
        if not targets:
            assert key is not None, "only a key forbids anything"
            raise _denied(f"The key {key.name!r} may not use {model or self.default_route!r:.300}.", "model")
        forbidden = []
        for position, fallback in enumerate(fallbacks):
            allowed = self._allowed(fallback, f"fallbacks[{position}]", key, request)
            targets.extend(allowed)
            if not allowed:
                forbidden.append(fallback)
        if forbidden:
            assert key is not None, "only a key forbids anything"
            raise _denied(f"The key {key.name!r} may not use the fallbacks {', '.join(forbidden)!s:.600}.", "fallbacks")
        return tuple(targets)

    def stood_in(self, model: str, target: Target) -> str:
        """A warning for a request whose model is retired, or not named and nobody's choice; empty for others."""
        if not model and not self._default_is_chosen:
            return f"No model was named: the default route answered, with {target}."
        if model in self._stand_ins and model != target.model:
            return f"{model} is retired: the default route answered in its place, with {target}."
        return ""

    def names_provider(self, model: str) -> bool:
        """Whether a request's model says which provider it means, rather than leaving that to the operator."""
        if model in self.aliases:
            return False
        name, slash, _ = model.partition("/")
        if slash:
            return name in self.providers
        return sum(model in provider.profiles for provider in self.providers.values()) == 1

    def provider(self, target: Target) -> Provider:
        """The provider of a target that ``route`` returned.

        Raises:
            GatewayError: UNAVAILABLE ``provider_not_configured``: an alias may lead to a provider that has no key yet.
        """
        provider = self.providers.get(target.provider)
        if provider is None:
            missing = self._unconfigured.get(target.provider, f"{target.provider} is not configured.")
            raise GatewayError(ErrorKind.UNAVAILABLE, missing, code="provider_not_configured", may_have_run=False)
        return provider

    def usable(self, target: Target) -> bool:
        """Whether a target can be asked at all: its provider is configured, has a key, or is installed."""
        provider = self.providers.get(target.provider)
        return provider is not None and provider.backend.unavailable() is None

    def profile(self, target: Target) -> Profile:
        """The profile of a target that ``route`` returned.

        Raises:
            GatewayError: MODEL_GONE: an alias may lead to a model that its provider does not have.
        """
        provider = self.provider(target)
        profile = listed(provider.profiles, target.model) or provider.default_profile
        if profile is None:
            raise GatewayError(
                ErrorKind.MODEL_GONE, f"{provider.name} has no model {target.model!r:.300}.", may_have_run=False
            )
        return profile

    def _allowed(
        self, name: str, param: str, key: VirtualKey | None, request: VariationRequest | None
    ) -> tuple[Target, ...]:
        """The targets that a name stands for and the key may use."""
        targets = self._targets(name, param, request, key)
        if key is None:
            return targets
        if name not in self.aliases and "/" not in name:
            # The name of a model: any provider that has it will do, if not the first.
            targets = tuple(Target(each.name, name) for each in self.providers.values() if name in each.profiles)
        allowed = tuple(target for target in targets if key.may_use(target))
        if "/" in name and name not in self.aliases:
            return allowed
        if key.weights:
            weighted = [WeightedTarget(target, key.weights.get(target.provider, 0.0)) for target in allowed]
            return weighted_order(weighted, self._draw)
        return allowed if name in self.aliases else allowed[:1]

    def _targets(
        self, name: str, param: str, request: VariationRequest | None, key: VirtualKey | None
    ) -> tuple[Target, ...]:
        alias = self.aliases.get(name)
        if alias is not None:
            return self._ordered(alias, request or VariationRequest())
        provider_name, slash, model = name.partition("/")
        if not slash:
            # A model's bare name means the first provider that lists it.
            provider_name, model = self._provider_of(name), name
        provider = self.providers.get(provider_name)
        if not model or provider is None:
            raise self.unknown(name, param, key)
        if model not in provider.profiles and provider.default_profile is None:
            raise self.unknown(name, param, key)
        return (Target(provider_name, model),)

    def _ordered(self, alias: Alias, request: VariationRequest) -> tuple[Target, ...]:
        targets = tuple(weighted.target for weighted in alias.targets)

        def estimate(target: Target) -> float | None:
            try:
                return estimated_usd(request, self.profile(target))
            except GatewayError:
                # It is not configured or not there: the last to be tried.
                return None

        match alias.policy:
            case AliasPolicy.ORDER:
                return targets
            case AliasPolicy.WEIGHTED:
                return weighted_order(alias.targets, self._draw)
            case AliasPolicy.CHEAPEST:
                return cheapest(targets, estimate)
            case AliasPolicy.FASTEST:
                return fastest(targets, self.standings.time_s, self._draw)
            case AliasPolicy.LEAST_BUSY:
                return least_busy(targets, self.standings.running)

    def _provider_of(self, model: str) -> str:
        return next((provider.name for provider in self.providers.values() if model in provider.profiles), "")

    def unknown(self, name: str, param: str, key: VirtualKey | None = None) -> GatewayError:
        """The error for a name that means nothing here, listing what exists.

        Args:
            key: Only what it may use is listed. None: everything.
        """

        def may_use(target: Target) -> bool:
            return key is None or key.may_use(target)

        missing = self._unconfigured.get(name.partition("/")[0])
        if missing is not None:
            return GatewayError(ErrorKind.NOT_FOUND, missing, code="model_not_found", param=param)
        aliases = [name for name, alias in self.aliases.items() if any(may_use(each.target) for each in alias.targets)]
        models = [Target(provider.name, model) for provider in self.providers.values() for model in provider.profiles]
        known = [*aliases, *(str(target) for target in models if may_use(target))]
        listed = ", ".join(known[:_MOST_NAMES_LISTED]) + (", …" if len(known) > _MOST_NAMES_LISTED else "") or "none"
        open_providers = [
            provider.name
            for provider in self.providers.values()
            if provider.default_profile is not None and may_use(Target(provider.name, ""))
        ]
        also = f" Any model of {', '.join(open_providers)} may be named, too." if open_providers else ""
        return GatewayError(
            ErrorKind.NOT_FOUND,
            f"The model {name!r:.300} does not exist. Write provider/model or an alias. There are: {listed}.{also}",
            code="model_not_found",
            param=param,
        )


def _denied(message: str, param: str) -> GatewayError:
    code = "fallback_not_allowed" if param == "fallbacks" else "model_not_allowed"
    return GatewayError(ErrorKind.PERMISSION_DENIED, message, code=code, param=param, may_have_run=False)
