"""``keys``: makes, changes, lists and deletes virtual keys, turns them off and on, and tells what they have used."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from service.cli.arguments import GRANTS
from service.cli.connection import CommandError
from service.composition.governance import open_store
from service.config import Config, ConfigError, load
from service.config.access import VirtualKeySettings
from service.config.units import parse_seconds
from service.governance.budgets import Account, usd_text
from service.governance.keys import CacheScope, Team, VirtualKey, accounts_of, digest, digest_text, new_secret, rates_of
from service.governance.rates import Counts
from service.governance.store import NameTakenError, RateCharge, Store
from service.storage.errors import StorageError

_BUDGET = re.compile(r"([0-9]+(?:\.[0-9]+)?)/(1h|1d|1w|1M)(:calendar)?")
_RATE = re.compile(r"([0-9]{1,9})/([0-9]+[smhd])")
_LIFETIME = re.compile(r"[0-9]{1,6}[smhd]")


def keys(options: argparse.Namespace) -> int:
    """Runs one of the subcommands; 1 when it fails, 2 when the configuration is wrong."""
    try:
        config = load(options.config, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        return asyncio.run(_run(config, options))
    except (CommandError, SystemExit) as error:
        print(error, file=sys.stderr)
    except StorageError as error:
        print(f"The store cannot be used: {error}", file=sys.stderr)
    return 1


async def _run(config: Config, options: argparse.Namespace) -> int:
    store = await open_store(config)
    try:
        match options.keys_command:
            case "create":
                return await _create(config, store, options)
            case "update":
                return await _update(config, store, options)
            case "list":
                return await _list(config, store)
            case "disable":
                return _changed(config, options.name, "disabled", await store.disable_key(options.name))
            case "enable":
                return _changed(config, options.name, "enabled", await store.enable_key(options.name))
            case "delete":
                return _changed(config, options.name, "deleted", await store.delete_key(options.name))
            case _:
                return await _usage(config, store, options.name)
    finally:
        await store.aclose()


async def _create(config: Config, store: Store, options: argparse.Namespace) -> int:
    secret = new_secret()
    key = _settings(options, secret).key
    _check_team(config, key)
    if key.name in {each.name for each in config.keys}:
        raise CommandError(f"The configuration has a key named {key.name!r}.")
    try:
        await store.add_key(key)
    except NameTakenError:
        raise CommandError(f"There is a key named {key.name!r} already; disabled ones keep their name.") from None
    # The key alone on standard output, so that it can be piped to where it is kept.
    print(secret)
    print(
        f"This is the key {key.name!r}. It is shown this once; only its hash is kept: {digest_text(digest(secret))}",
        file=sys.stderr,
    )
    if config.require_auth is None:
        print(
            "From now on every caller has to send a key or token, unless the configuration says require_auth: false.",
            file=sys.stderr,
        )
    return 0


async def _update(config: Config, store: Store, options: argparse.Namespace) -> int:
    before = next((key for key in await store.keys() if key.name == options.name), None)
    if before is None:
        return _changed(config, options.name, "updated", found=False)
    after = _updated(before, options)
    if options.team:
        _check_team(config, after)
    return _changed(config, options.name, "updated", await store.update_key(after))


def _updated(before: VirtualKey, options: argparse.Namespace) -> VirtualKey:
    """The key with what the options give or take away, and the rest as it was."""
    given = _settings(options, new_secret()).key
    gone = frozenset(options.without)
    # Limits of requests and of images are options of their own, and one list in the key.
    rates = []
    for option, values, counts in (
        ("requests", options.requests, Counts.REQUESTS),
        ("images", options.images, Counts.IMAGES),
    ):
        source = given if values else before
        if values or option not in gone:
            rates += [rate for rate in source.rates if rate.counts is counts]
    fields: Mapping[str, tuple[str, object, object, object]] = {
        "expires_at": ("expires", options.expires, given.expires_at, None),
        "team": ("team", options.team, given.team, ""),
        "providers": ("provider", options.provider, given.providers, ()),
        "models": ("model", options.model, given.models, ()),
        "provider_keys": ("provider-key", options.provider_key, given.provider_keys, MappingProxyType({})),
        "weights": ("weight", options.weight, given.weights, MappingProxyType({})),
        "budgets": ("budget", options.budget, given.budgets, ()),
        "cache_scope": ("", options.cache_scope, given.cache_scope, None),
    }
    both = sorted(gone & {option for option in GRANTS if getattr(options, option.replace("-", "_"))})
    if both:
        raise CommandError(f"--without {both[0]} and --{both[0]} cannot both be meant.")
    changes: dict[str, Any] = {"rates": tuple(rates)}
    for field, (option, is_given, value, nothing) in fields.items():
        if is_given:
            changes[field] = value
        elif option in gone:
            changes[field] = nothing
    if changes == {"rates": before.rates} and not gone and not options.requests and not options.images:
        raise CommandError("Say what is to change, such as --budget 20/1d or --without expires.")
    return replace(before, **changes)


def _check_team(config: Config, key: VirtualKey) -> None:
    if key.team and key.team not in config.teams:
        raise CommandError(f"There is no team {key.team!r} in the configuration.")


def _settings(options: argparse.Namespace, secret: str) -> VirtualKeySettings:
    """The options as the configuration has them, so that the same checks hold for both."""
    values = {
        "name": options.name,
        "value": secret,
        "expires": _expiry(options.expires),
        "team": options.team,
        "providers": options.provider,
        "models": options.model,
        "provider_keys": _grouped(options.provider_key),
        "weights": _weights(options.weight),
        "budgets": [_budget(text) for text in options.budget],
        "rate_limits": [
            *(_rate(text, "requests") for text in options.requests),
            *(_rate(text, "images") for text in options.images),
        ],
        "cache_scope": options.cache_scope or CacheScope.KEY,
    }
    try:
        return VirtualKeySettings.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        place = found["loc"][0] if found["loc"] else "key"
        reason = str(found.get("ctx", {}).get("error", found["msg"]))
        raise CommandError(f"{place}: {reason}") from None


def _expiry(text: str) -> datetime | str | None:
    if not text:
        return None
    if _LIFETIME.fullmatch(text):
        return datetime.now(UTC) + timedelta(seconds=parse_seconds(text))
    return text


def _budget(text: str) -> Mapping[str, object]:
    match = _BUDGET.fullmatch(text)
    if match is None:
        raise CommandError(f"--budget {text}: write USD/WINDOW, such as 10/1d, or 100/1M:calendar.")
    return {"usd": float(match[1]), "window": match[2], "aligned": bool(match[3])}


def _rate(text: str, counts: str) -> Mapping[str, object]:
    match = _RATE.fullmatch(text)
    if match is None:
        raise CommandError(f"--{counts} {text}: write COUNT/WINDOW, such as 60/1m.")
    return {counts: int(match[1]), "window": match[2]}


def _grouped(texts: Sequence[str]) -> Mapping[str, Sequence[str]]:
    groups: dict[str, list[str]] = {}
    for text in texts:
        provider, equals, name = text.partition("=")
        if not (provider and equals and name):
            raise CommandError(f"--provider-key {text}: write PROVIDER=NAME.")
        groups.setdefault(provider, []).append(name)
    return groups


def _weights(texts: Sequence[str]) -> Mapping[str, float]:
    weights = {}
    for text in texts:
        provider, equals, weight = text.partition("=")
        if not (provider and equals and re.fullmatch(r"[0-9]+(\.[0-9]+)?", weight)):
            raise CommandError(f"--weight {text}: write PROVIDER=NUMBER.")
        weights[provider] = float(weight)
    return weights


async def _list(config: Config, store: Store) -> int:
    rows: list[tuple[str, ...]] = [("name", "state", "expires", "team", "may use", "limits", "from")]
    rows += [_row(each.key, config, "configuration") for each in config.keys]
    rows += [_row(key, config, "store") for key in await store.keys()]
    _print_table(rows)
    return 0


def _row(key: VirtualKey, config: Config, origin: str) -> tuple[str, ...]:
    return (
        key.name,
        _state(key, config),
        f"{key.expires_at:%Y-%m-%d %H:%M}Z" if key.expires_at else "never",
        key.team or "-",
        ", ".join([*key.providers, *key.models]) or "everything",
        ", ".join([*map(str, key.budgets), *map(str, key.rates)]) or "none",
        origin,
    )


def _state(key: VirtualKey, config: Config) -> str:
    if not key.enabled:
        return "disabled"
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        return "expired"
    return "team gone" if key.team and key.team not in config.teams else "enabled"


def _changed(config: Config, name: str, how: str, found: bool) -> int:
    if found:
        effect = {"enabled": "take it", "updated": "go by that"}.get(how, "refuse it")
        print(f"The key {name!r} is {how}. Running services {effect} within seconds.")
        return 0
    if name in {each.name for each in config.keys}:
        raise CommandError(f"The key {name!r} is in the configuration: change it there (enabled: false), and restart.")
    raise CommandError(f"There is no key named {name!r}.")


async def _usage(config: Config, store: Store, name: str) -> int:
    known = [*(each.key for each in config.keys), *await store.keys()]
    chosen = [key for key in known if not name or key.name == name]
    if not chosen and name:
        raise CommandError(f"There is no key named {name!r}.")
    now = time.time()
    rows: list[tuple[str, ...]] = [("of", "limit", "used", "left", "resets")]
    teams: dict[str, Team] = {}
    for key in chosen:
        rows += await _usage_rows(store, key, None, now)
        if key.team in config.teams:
            teams[key.team] = config.teams[key.team].team(key.team)
    for team in teams.values():
        # Of a key with no limits of its own, only the team's are left.
        rows += await _usage_rows(store, VirtualKey(team.name, b""), team, now)
    _print_table(rows)
    return 0


async def _usage_rows(store: Store, key: VirtualKey, team: Team | None, now: float) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for account in accounts_of(key, team):
        spent = await store.spent(account.name, account.budget.window.first_slice(now))
        used, limit = sum(spent.values()), account.budget.limit_nanos
        left = usd_text(max(0, limit - used))
        rows.append((_owner(account.owner), str(account.budget), usd_text(used), left, _reset(account, spent, now)))
    for rated in rates_of(key, team):
        rate = rated.rate
        counted = await store.count([RateCharge.at(rated, 0, now)])
        count = sum(counted.units[0].values())
        unit = "requests" if rate.counts is Counts.REQUESTS else "images"
        rows.append((_owner(rated.owner), str(rate), f"{count} {unit}", str(rate.amount - count), "sliding"))
    return rows


def _owner(owner: str) -> str:
    return owner.replace(":", " ", 1)


def _reset(account: Account, spent: Mapping[int, int], now: float) -> str:
    """When all of the budget is there again."""
    resets_at = account.budget.resets_at(spent, account.budget.limit_nanos, now)
    if resets_at is None or resets_at <= now:
        return "-"
    return f"{datetime.fromtimestamp(resets_at, UTC):%Y-%m-%d %H:%M}Z"


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """A table on a terminal, lines of tab-separated columns elsewhere."""
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold")
    for title in rows[0]:
        table.add_column(title, overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    Console().print(table)
