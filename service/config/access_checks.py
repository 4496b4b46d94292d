"""Checks of what keys, teams and tokens say of each other and of the providers."""

from __future__ import annotations

from collections.abc import Iterable

from service.config.document import Document
from service.config.models import EMBEDDED_PROVIDER, Config
from service.config.problems import did_you_mean


def check_access(document: Document, config: Config) -> None:
    """Notes names and secrets that are given twice, and names of teams, providers and keys that do not exist."""
    seen: dict[bytes, str] = {}
    for section, entries in (("keys", config.keys), ("tokens", config.tokens)):
        names = [each.name for each in entries]
        for position, entry in enumerate(entries):
            if entry.name in names[:position]:
                document.report((section, position, "name"), f"{entry.name!r} is there twice")
            other = seen.setdefault(entry.digest, f"{section}[{position}]")
            if other != f"{section}[{position}]":
                document.report((section, position), f"has the same secret as {other}")
    for position, key in enumerate(config.keys):
        if key.team and key.team not in config.teams:
            hint = did_you_mean(key.team, config.teams)
            document.report(("keys", position, "team"), f"there is no team {key.team!r}{hint}")
        _check_providers(document, config, ("keys", position, "weights"), key.weights)
        _check_providers(document, config, ("keys", position, "provider_keys"), key.provider_keys)
        for provider, wanted in key.provider_keys.items():
            if provider not in config.providers:
                continue
            known = [each.name for each in config.providers[provider].keys]
            for name in wanted:
                if name not in known:
                    document.report(
                        ("keys", position, "provider_keys", provider),
                        f"{provider} has no key {name!r}{did_you_mean(name, known)}",
                    )
    if config.require_auth is False and not config.only_loopback and not config.allow_unauthenticated:
        document.report(
            ("require_auth",),
            "would let anybody in from other machines, who could spend your money; "
            "where that is meant, say allow_unauthenticated: true besides",
        )


def _check_providers(document: Document, config: Config, path: tuple[str | int, ...], named: Iterable[str]) -> None:
    # A provider whose key is not in the environment today may be named all the same: the file outlives a shell.
    known = {EMBEDDED_PROVIDER, *config.providers, *config.entries}
    for name in named:
        if name not in known:
            document.report((*path, name), f"there is no provider {name!r}{did_you_mean(name, known)}")
