"""Keys, budgets and rates in a cluster and behind sentinels, while a server of theirs dies."""

from __future__ import annotations

import asyncio
import gc
import time
import uuid
from collections.abc import AsyncIterator, Callable

import pytest
from redis.crc import key_slot
from redis_cluster import (  # noqa: F401  # fixtures
    Cluster,
    Node,
    Sentinels,
    own_redis_cluster,
    redis_cluster,
    redis_sentinels,
)

from service.governance.budgets import Account, Budget
from service.governance.keys import VirtualKey, digest
from service.governance.rates import Counts, Rate, RateAccount
from service.governance.redis_store import RedisStore
from service.governance.store import Charge, RateCharge, Reservation
from service.governance.windows import Span, Window
from service.storage.errors import StorageError

# When the client of a cluster looks for its servers anew, it leaves connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning", "ignore:Unclosed:ResourceWarning")

_CENT = 10_000_000
Open = Callable[[str], RedisStore]
_DAY = Window(Span.DAY)
_NOW = time.time()


@pytest.fixture
async def opened() -> AsyncIterator[Callable[[str], RedisStore]]:
    """Opens stores; in the end the garbage collector closes here, and not in another test, what they leave."""
    stores: list[RedisStore] = []

    def open_one(url: str) -> RedisStore:
        stores.append(RedisStore(url))
        return stores[-1]

    yield open_one
    while stores:
        await stores.pop().aclose()
    gc.collect()


def owner_on(cluster: Cluster, node: Node, kind: str) -> str:
    """An owner whose accounts are on that server."""
    names = (f"{kind}:{number}" for number in range(1000))
    return next(name for name in names if cluster.slot_owner(key_slot(name.encode())) is node)


def reservation(nanos: int, *accounts: Account) -> Reservation:
    return Reservation(uuid.uuid4().hex, nanos, _NOW, tuple(Charge.at(account, _NOW) for account in accounts))


async def spent(store: RedisStore, account: Account) -> int:
    return sum((await store.spent(account.name, 0)).values())


async def settled_under_load(store: RedisStore, account: Account, node: Node) -> tuple[int, int]:
    """Kills a server under load; the requests that were settled in all, and after the first failure."""
    settled = failed = afterwards = 0

    async def client() -> None:
        nonlocal settled, failed, afterwards
        while afterwards < 200:
            asked = reservation(2 * _CENT, account)
            try:
                await store.reserve(asked)
                await store.settle(asked, _CENT)
            except StorageError:
                failed += 1
                await asyncio.sleep(0.05)
                continue
            settled += 1
            afterwards += bool(failed)

    async with asyncio.timeout(60), asyncio.TaskGroup() as clients:
        for _ in range(8):
            clients.create_task(client())
        while settled < 200:  # noqa: ASYNC110 - the clients count
            await asyncio.sleep(0.01)
        await asyncio.to_thread(node.kill)
    assert failed, "the server's death was noticed"
    return settled, failed


async def test_a_cluster_keeps_the_accounts_of_keys_and_teams_on_its_servers(
    redis_cluster: Cluster,  # noqa: F811
    opened: Open,
) -> None:
    store = opened(redis_cluster.url)
    key = Account(owner_on(redis_cluster, redis_cluster.nodes[0], "key"), Budget(1, _DAY))
    team = Account(owner_on(redis_cluster, redis_cluster.nodes[2], "team"), Budget(0.03, _DAY))
    first = reservation(2 * _CENT, key, team)
    assert await store.reserve(first) is None
    assert (await spent(store, key), await spent(store, team)) == (2 * _CENT, 2 * _CENT)
    refused = await store.reserve(reservation(2 * _CENT, key, team))
    assert refused is not None
    assert refused.position == 1
    # The key's share was given back.
    assert await spent(store, key) == 2 * _CENT
    for _ in range(2):
        await store.settle(first, _CENT)
    assert (await spent(store, key), await spent(store, team)) == (_CENT, _CENT)


async def test_a_cluster_counts_a_request_on_all_limits_or_on_none(
    redis_cluster: Cluster,  # noqa: F811
    opened: Open,
) -> None:
    store = opened(redis_cluster.url)
    nodes = redis_cluster.nodes
    key = RateAccount(owner_on(redis_cluster, nodes[1], "key"), Rate(Counts.REQUESTS, 10, 3600))
    team = RateAccount(owner_on(redis_cluster, nodes[2], "team"), Rate(Counts.REQUESTS, 3, 3600))

    async def count(units: int) -> int | None:
        return (await store.count([RateCharge.at(key, units, _NOW), RateCharge.at(team, units, _NOW)])).refused

    assert [await count(1) for _ in range(5)] == [None] * 3 + [1] * 2
    looked = await store.count([RateCharge.at(key, 0, _NOW), RateCharge.at(team, 0, _NOW)])
    assert [sum(units.values()) for units in looked.units] == [3, 3]


async def test_a_cluster_keeps_keys(
    redis_cluster: Cluster,  # noqa: F811
    opened: Open,
) -> None:
    store = opened(redis_cluster.url)
    assert not await store.has_keys()
    await store.add_key(VirtualKey("alice", digest("x")))
    assert await store.disable_key("alice")
    found = await store.find_key(digest("x"))
    assert found is not None
    assert not found.enabled
    assert [key.name for key in await store.keys()] == ["alice"]


async def test_a_cluster_goes_on_when_a_server_dies(
    own_redis_cluster: Cluster,  # noqa: F811
    opened: Open,
) -> None:
    store = opened(own_redis_cluster.url)
    dying = own_redis_cluster.nodes[0]
    account = Account(owner_on(own_redis_cluster, dying, "key"), Budget(1e6, _DAY))
    settled, failed = await settled_under_load(store, account, dying)
    # Eight at a time: what one of them had settled a moment before may not have reached the one that stood by, and
    # what failed may have been reserved or settled all the same.
    assert (settled - 16) * _CENT <= await spent(store, account) <= (settled + 2 * failed) * _CENT


async def test_one_server_of_a_cluster_that_is_silent_holds_up_only_its_own(
    redis_cluster: Cluster,  # noqa: F811
    opened: Open,
) -> None:
    store = opened(redis_cluster.url)
    nodes = redis_cluster.nodes
    here, there = (Account(owner_on(redis_cluster, node, "key"), Budget(9, _DAY)) for node in nodes[1:3])
    for account in (here, there):
        assert await store.reserve(reservation(_CENT, account)) is None
    nodes[1].freeze()
    with pytest.raises(StorageError):
        await store.reserve(reservation(_CENT, here))
    for _ in range(50):
        with pytest.raises(StorageError):
            await store.reserve(reservation(_CENT, here))
        assert await store.reserve(reservation(_CENT, there)) is None
    nodes[1].thaw()


@pytest.mark.slow  # sentinels take seconds to agree that a server is dead
async def test_sentinels_lead_to_the_server_that_took_over(
    redis_sentinels: Sentinels,  # noqa: F811
    opened: Open,
) -> None:
    store = opened(redis_sentinels.url)
    account = Account("key:alice", Budget(1e6, _DAY))
    settled, failed = await settled_under_load(store, account, redis_sentinels.servers[0])
    assert (settled - 16) * _CENT <= await spent(store, account) <= (settled + 2 * failed) * _CENT
