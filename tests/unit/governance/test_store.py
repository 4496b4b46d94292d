"""What every store promises; each test runs on SQLite and on Redis."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest

from service.governance.budgets import Account, Budget
from service.governance.keys import CacheScope, VirtualKey, digest
from service.governance.rates import Counts, Rate, RateAccount
from service.governance.store import Charge, NameTakenError, Refused, Reservation, Store
from service.governance.windows import Span, Window

OpenStore = Callable[[], Coroutine[Any, Any, Store]]

# Really now: Redis forgets what has expired by its own clock.
_NOW = time.time()
_CENT = 10_000_000
_ids = itertools.count()


def _charge(account: str, limit: int, *, current: int = 3600, first: int = 0) -> Charge:
    return Charge(account, limit, current, first, forgotten_at=_NOW + 3600)


def _reservation(nanos: int, *charges: Charge) -> Reservation:
    return Reservation(f"reservation-{next(_ids)}", nanos, _NOW, charges)


async def test_a_reservation_counts_at_once_and_is_replaced_by_the_true_cost(store: Store) -> None:
    reservation = _reservation(5 * _CENT, _charge("a", 100 * _CENT))
    assert await store.reserve(reservation) is None
    assert await store.spent("a", 0) == {3600: 5 * _CENT}
    await store.settle(reservation, 4 * _CENT)
    assert await store.spent("a", 0) == {3600: 4 * _CENT}


async def test_a_settlement_may_be_higher_than_the_estimate(store: Store) -> None:
    reservation = _reservation(_CENT, _charge("a", _CENT))
    await store.reserve(reservation)
    await store.settle(reservation, 3 * _CENT)
    assert await store.spent("a", 0) == {3600: 3 * _CENT}


async def test_a_refund_leaves_nothing(store: Store) -> None:
    reservation = _reservation(_CENT, _charge("a", _CENT))
    await store.reserve(reservation)
    await store.settle(reservation, 0)
    assert sum((await store.spent("a", 0)).values()) == 0


async def test_settling_twice_counts_once(store: Store) -> None:
    first, second = _reservation(_CENT, _charge("a", 9 * _CENT)), _reservation(_CENT, _charge("a", 9 * _CENT))
    await store.reserve(first)
    await store.reserve(second)
    for _ in range(3):
        await store.settle(first, 2 * _CENT)
    assert sum((await store.spent("a", 0)).values()) == 3 * _CENT


async def test_reserving_twice_counts_once(store: Store) -> None:
    reservation = _reservation(_CENT, _charge("a", _CENT))
    assert await store.reserve(reservation) is None
    assert await store.reserve(reservation) is None
    assert await store.spent("a", 0) == {3600: _CENT}


async def test_what_was_never_reserved_cannot_be_settled(store: Store) -> None:
    await store.settle(_reservation(_CENT, _charge("a", _CENT)), 5 * _CENT)
    assert await store.spent("a", 0) == {}


async def test_a_full_account_refuses_and_shows_what_fills_it(store: Store) -> None:
    await store.reserve(_reservation(2 * _CENT, _charge("a", 3 * _CENT, current=3600)))
    await store.reserve(_reservation(_CENT, _charge("a", 3 * _CENT, current=7200)))
    refused = await store.reserve(_reservation(1, _charge("a", 3 * _CENT, current=7200)))
    assert refused == Refused(0, {3600: 2 * _CENT, 7200: _CENT})


async def test_all_accounts_are_charged_or_none(store: Store) -> None:
    await store.reserve(_reservation(2 * _CENT, _charge("team", 2 * _CENT)))
    refused = await store.reserve(_reservation(_CENT, _charge("key", 9 * _CENT), _charge("team", 2 * _CENT)))
    assert refused is not None
    assert refused.position == 1
    assert await store.spent("key", 0) == {}


async def test_the_last_nano_fits(store: Store) -> None:
    assert await store.reserve(_reservation(_CENT, _charge("a", _CENT))) is None
    assert await store.reserve(_reservation(1, _charge("a", _CENT))) is not None


async def test_what_costs_nothing_fits_into_a_full_account(store: Store) -> None:
    await store.reserve(_reservation(_CENT, _charge("a", _CENT)))
    assert await store.reserve(_reservation(0, _charge("a", _CENT))) is None


async def test_slices_before_the_first_no_longer_count(store: Store) -> None:
    await store.reserve(_reservation(_CENT, _charge("a", _CENT, current=3600)))
    assert await store.reserve(_reservation(_CENT, _charge("a", _CENT, current=7200, first=3600))) is not None
    assert await store.reserve(_reservation(_CENT, _charge("a", _CENT, current=7200, first=7200))) is None
    assert await store.spent("a", 7200) == {7200: _CENT}


async def test_large_amounts_stay_exact(store: Store) -> None:
    million = 1_000_000 * 100 * _CENT
    reservation = _reservation(million + 1, _charge("a", 3 * million))
    await store.reserve(reservation)
    await store.settle(reservation, million + 3)
    await store.reserve(_reservation(7, _charge("a", 3 * million)))
    assert await store.spent("a", 0) == {3600: million + 10}


async def test_concurrent_reservations_from_two_replicas_cannot_overshoot(open_store: OpenStore) -> None:
    replicas = [await open_store(), await open_store()]
    reservations = [_reservation(_CENT, _charge("key", 80 * _CENT), _charge("team", 50 * _CENT)) for _ in range(200)]
    answers = await asyncio.gather(
        *(replicas[number % 2].reserve(reservation) for number, reservation in enumerate(reservations))
    )
    assert sum(answer is None for answer in answers) == 50
    assert await replicas[0].spent("key", 0) == await replicas[1].spent("team", 0) == {3600: 50 * _CENT}


async def test_concurrent_settlements_all_count(open_store: OpenStore) -> None:
    replicas = [await open_store(), await open_store()]
    reservations = [_reservation(_CENT, _charge("a", 1000 * _CENT)) for _ in range(100)]
    await asyncio.gather(*(replicas[0].reserve(reservation) for reservation in reservations))
    await asyncio.gather(
        *(replicas[number % 2].settle(each, 2 * _CENT) for number, each in enumerate(reservations)),
        *(replicas[0].settle(each, 2 * _CENT) for each in reservations),
    )
    assert await replicas[1].spent("a", 0) == {3600: 200 * _CENT}


async def test_spending_outlives_the_process(open_store: OpenStore) -> None:
    reservation = _reservation(_CENT, _charge("a", _CENT))
    first = await open_store()
    await first.reserve(reservation)
    await first.aclose()
    second = await open_store()
    await second.settle(reservation, 3 * _CENT)
    assert await second.spent("a", 0) == {3600: 3 * _CENT}


_RATE = RateAccount("key:a", Rate(Counts.IMAGES, 10, 3600))


async def test_a_rate_lets_its_amount_through_and_no_more(store: Store) -> None:
    assert await store.hit(_RATE, 7)
    assert not await store.hit(_RATE, 4)
    assert await store.hit(_RATE, 3)
    assert not await store.hit(_RATE, 1)


async def test_a_refused_hit_counts_nothing(store: Store) -> None:
    assert not await store.hit(_RATE, 11)
    assert (await store.usage(_RATE, 10)).count == 0


async def test_rates_hold_across_two_replicas(open_store: OpenStore) -> None:
    replicas = [await open_store(), await open_store()]
    hits = await asyncio.gather(*(replicas[number % 2].hit(_RATE, 1) for number in range(60)))
    assert sum(hits) == 10


async def test_owners_kinds_and_windows_are_counted_apart(store: Store) -> None:
    full = RateAccount("key:a", Rate(Counts.IMAGES, 1, 60))
    assert await store.hit(full, 1)
    assert not await store.hit(full, 1)
    assert await store.hit(RateAccount("key:b", full.rate), 1)
    assert await store.hit(RateAccount("team:a", full.rate), 1)
    assert await store.hit(RateAccount("key:a", Rate(Counts.REQUESTS, 1, 60)), 1)
    assert await store.hit(RateAccount("key:a", Rate(Counts.IMAGES, 1, 61)), 1)


async def test_usage_tells_when_the_unit_at_a_depth_was_counted(store: Store) -> None:
    before = time.time()
    await store.hit(_RATE, 2)
    between = time.time()
    await store.hit(_RATE, 3)
    after = time.time()
    newest, all_of_them = await store.usage(_RATE, 3), await store.usage(_RATE, 10)
    assert newest.count == 3
    # Redis rounds to a tenth of a millisecond.
    assert between - 0.001 <= newest.since <= after + 0.001
    assert all_of_them.count == 5
    assert before - 0.001 <= all_of_them.since <= between + 0.001


async def test_a_window_slides(store: Store) -> None:
    short = RateAccount("key:a", Rate(Counts.REQUESTS, 2, 1))
    assert await store.hit(short, 1)
    first = (await store.usage(short, 1)).since
    await asyncio.sleep(0.3)
    assert await store.hit(short, 1)
    assert not await store.hit(short, 1)
    await asyncio.sleep(max(0.0, first + 1.001 - time.time()))
    # The first has left the window, the second has not.
    assert await store.hit(short, 1)
    assert not await store.hit(short, 1)


_KEY = VirtualKey(
    name="alice",
    digest=digest("sk-bf-alice"),
    expires_at=datetime(2027, 1, 1, tzinfo=UTC),
    team="pictures",
    providers=("openai", "gem*"),
    models=("gpt-image-*",),
    provider_keys=MappingProxyType({"openai": ("main", "second")}),
    weights=MappingProxyType({"openai": 3.0, "gemini": 1.0}),
    budgets=(Budget(1.5, Window(Span.DAY)), Budget(20, Window(Span.MONTH, aligned=True))),
    rates=(Rate(Counts.REQUESTS, 10, 60), Rate(Counts.IMAGES, 100, 3600)),
    cache_scope=CacheScope.TEAM,
)


async def test_a_key_is_found_by_its_hash_as_it_was_added(open_store: OpenStore) -> None:
    store = await open_store()
    assert not await store.has_keys()
    await store.add_key(_KEY)
    other = await open_store()
    assert await other.find_key(digest("sk-bf-alice")) == _KEY
    assert await other.find_key(digest("sk-bf-alicf")) is None
    assert await other.has_keys()


async def test_a_name_is_given_once(store: Store) -> None:
    await store.add_key(_KEY)
    with pytest.raises(NameTakenError):
        await store.add_key(dataclasses.replace(_KEY, digest=digest("sk-bf-other")))
    assert await store.find_key(digest("sk-bf-other")) is None
    assert await store.find_key(_KEY.digest) == _KEY


async def test_a_disabled_key_stays_known_and_stays_disabled(open_store: OpenStore) -> None:
    store = await open_store()
    await store.add_key(_KEY)
    assert await store.disable_key("alice")
    assert await store.disable_key("alice")
    assert not await store.disable_key("bob")
    expected = dataclasses.replace(_KEY, enabled=False)
    assert await (await open_store()).find_key(_KEY.digest) == expected
    assert await store.keys() == (expected,)


async def test_keys_are_listed_by_name(store: Store) -> None:
    for name in ("carol", "alice", "bob"):
        await store.add_key(VirtualKey(name, digest(name)))
    assert [key.name for key in await store.keys()] == ["alice", "bob", "carol"]


async def test_a_charge_is_what_an_account_says_at_that_time() -> None:
    charge = Charge.at(Account("key:a", Budget(0.5, Window(Span.HOUR, aligned=True))), 7201.5)
    assert charge == Charge("key:a:1h:calendar", 50 * _CENT, 7200, 7200, 10800.0)
