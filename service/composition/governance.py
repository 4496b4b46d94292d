"""From configuration to who is let in, and to what is remembered of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from service.config import Config
from service.governance.authentication import Authenticator
from service.governance.gate import Gate
from service.governance.governor import Governor, OnStoreFailure
from service.governance.idempotency import ClaimStore, Idempotency
from service.governance.sqlite_claims import SqliteClaims
from service.governance.sqlite_store import SqliteStore
from service.governance.store import Store
from service.storage.errors import StorageError


@dataclass(frozen=True, slots=True)
class Governance:
    """The parts of governance that the service needs."""

    gate: Gate
    governor: Governor
    idempotency: Idempotency


async def open_store(config: Config) -> Store:
    """The configured store. A Redis server need not be there yet.

    Raises:
        SystemExit: It cannot be used, with the reason in one line.
    """
    location = config.state_location
    try:
        if isinstance(location, Path):
            return await SqliteStore.open(location)
        # Imported only where it is wanted: it takes longer than all else here.
        from service.governance.redis_store import RedisStore

        return RedisStore(location)
    except (StorageError, ValueError) as error:
        # The URL may hold a password, and libraries quote what they cannot read.
        reason = str(error) if isinstance(error, StorageError) else "it is not a URL that Redis clients understand"
        raise SystemExit(f"state cannot be used: {reason}.") from None


async def _open_claims(config: Config) -> ClaimStore:
    """The store of idempotent requests' claims: beside the store of keys and budgets."""
    location = config.state_location
    try:
        if isinstance(location, Path):
            return await SqliteClaims.open(location.with_name("idempotency.db"))
        from service.governance.redis_claims import RedisClaims

        return RedisClaims(location)
    except StorageError as error:
        raise SystemExit(f"state cannot be used: {error}.") from None


@contextlib.asynccontextmanager
async def opened_governance(config: Config) -> AsyncIterator[Governance]:
    """The store and those who ask it; what is still to be settled in the end is settled, then the store closed.

    Raises:
        SystemExit: The store cannot be used, or anybody could use a gateway that others can reach.
    """
    store = await open_store(config)
    try:
        await _refuse_to_stand_open(config, store)
        governor = Governor(store, OnStoreFailure(config.on_store_failure))
        claims = await _open_claims(config)
        try:
            yield Governance(Gate(Authenticator(config.access, store), governor), governor, Idempotency(claims))
        finally:
            await governor.aclose()
            await claims.aclose()
    finally:
        await store.aclose()


async def _refuse_to_stand_open(config: Config, store: Store) -> None:
    if config.only_loopback or config.allow_unauthenticated or config.require_auth:
        return
    if config.keys or config.tokens or config.allow_direct_keys:
        return
    try:
        if await store.has_keys():
            return
    except StorageError:
        # It starts all the same: away from loopback nobody is let in without a credential, and none can be checked.
        return
    exposed = config.listen.http if not config.listen.http.is_loopback else config.listen.grpc
    raise SystemExit(
        f"Other machines can reach {exposed}, and no credential is configured: anybody could spend your money. "
        "Add a key (`python -m service keys create NAME`, or keys: in gateway.yaml), or a token, or listen on "
        "127.0.0.1. Where it is meant, say allow_unauthenticated: true."
    )
