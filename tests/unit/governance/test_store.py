"""The promises of every store; each test runs on SQLite and on Redis."""

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
from service.governance.store import Charge, Counted, NameTakenError, RateCharge, Refused, Reservation, Store
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


async def _hit(store: Store, account: RateAccount, units: int, now: float = _NOW) -> bool:
    return (await store.count([RateCharge.at(account, units, now)])).refused is None


async def _used(store: Store, account: RateAccount, now: float = _NOW) -> int:
    counted = await store.count([RateCharge.at(account, 0, now)])
    assert counted.refused is None
    return sum(counted.units[0].values())


async def test_a_rate_lets_its_amount_through_and_no_more(store: Store) -> None:
    assert await _hit(store, _RATE, 7)
    assert not await _hit(store, _RATE, 4)
    assert await _hit(store, _RATE, 3)
    assert not await _hit(store, _RATE, 1)


async def test_a_refused_hit_counts_nothing(store: Store) -> None:
    assert not await _hit(store, _RATE, 11)
    assert await _used(store, _RATE) == 0


async def test_a_request_is_counted_on_all_of_its_limits_or_on_none(store: Store) -> None:
    full = RateAccount("team:b", Rate(Counts.REQUESTS, 1, 60))
    assert await _hit(store, full, 1)
    counted = await store.count([RateCharge.at(_RATE, 4, _NOW), RateCharge.at(full, 1, _NOW)])
    assert counted == Counted(1, ({}, {full.rate.current_slice(_NOW): 1}))
    assert await _used(store, _RATE) == 0


async def test_rates_hold_across_two_replicas(open_store: OpenStore) -> None:
    replicas = [await open_store(), await open_store()]
    hits = await asyncio.gather(*(_hit(replicas[number % 2], _RATE, 1) for number in range(60)))
    assert sum(hits) == 10


async def test_owners_kinds_and_windows_are_counted_apart(store: Store) -> None:
    full = RateAccount("key:a", Rate(Counts.IMAGES, 1, 60))
    assert await _hit(store, full, 1)
    assert not await _hit(store, full, 1)
    assert await _hit(store, RateAccount("key:b", full.rate), 1)
    assert await _hit(store, RateAccount("team:a", full.rate), 1)
    assert await _hit(store, RateAccount("key:a", Rate(Counts.REQUESTS, 1, 60)), 1)
    assert await _hit(store, RateAccount("key:a", Rate(Counts.IMAGES, 1, 61)), 1)


async def test_a_raised_limit_forgets_nothing(store: Store) -> None:
    assert await _hit(store, _RATE, 10)
    raised = RateAccount("key:a", Rate(Counts.IMAGES, 12, 3600))
    assert not await _hit(store, raised, 3)
    assert await _hit(store, raised, 2)


async def test_a_window_slides(store: Store) -> None:
    assert await _hit(store, _RATE, 6, now=_NOW)
    assert await _hit(store, _RATE, 4, now=_NOW + 1800)
    assert not await _hit(store, _RATE, 6, now=_NOW + 3599)
    # A sixtieth of the window later the first six have been forgotten, the other four have not.
    assert await _hit(store, _RATE, 6, now=_NOW + 3661)
    assert not await _hit(store, _RATE, 1, now=_NOW + 3661)


async def test_a_clock_that_is_set_forth_and_back_forgets_no_unit(store: Store) -> None:
    assert await _hit(store, _RATE, 10)
    assert await _hit(store, _RATE, 1, now=_NOW + 3700)
    assert not await _hit(store, _RATE, 1)


async def test_units_that_a_wrong_clock_counted_far_ahead_do_not_lock_a_caller_out(store: Store) -> None:
    assert await _hit(store, _RATE, 10, now=_NOW + 365 * 86_400)
    assert await _hit(store, _RATE, 10)


async def test_what_is_kept_of_a_rate_does_not_grow_with_its_units(store: Store) -> None:
    many = RateAccount("key:a", Rate(Counts.REQUESTS, 1_000_000, 60))
    for now in range(400):
        await _hit(store, many, 1 + now % 7, _NOW + now)
    counted = await store.count([RateCharge.at(many, 0, _NOW + 399)])
    assert len(counted.units[0]) == 61


@pytest.mark.parametrize(
    ("window", "ahead_s"),
    [(Window(Span.HOUR), 3700), (Window(Span.HOUR), 12 * 3600), (Window(Span.MONTH), 30 * 86_400)],
    ids=["hour", "hour-by-half-a-day", "month"],
)
async def test_a_clock_that_is_set_forth_and_back_forgets_no_spending(
    store: Store, window: Window, ahead_s: int
) -> None:
    account = Account("key:a", Budget(0.01, window))
    assert await store.reserve(_reservation(_CENT, Charge.at(account, _NOW))) is None
    await store.reserve(_reservation(0, Charge.at(account, _NOW + ahead_s)))
    assert await store.reserve(_reservation(1, Charge.at(account, _NOW + 1))) is not None


async def test_a_clock_of_long_ago_does_not_forget_what_was_spent(store: Store) -> None:
    account = Account("key:a", Budget(1, Window(Span.HOUR)))
    assert await store.reserve(_reservation(_CENT, Charge.at(account, _NOW))) is None
    assert await store.reserve(_reservation(0, Charge.at(account, 86_400.0))) is None
    assert sum((await store.spent(account.name, 0)).values()) == _CENT


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
    assert await store.enable_key("alice")
    assert not await store.enable_key("bob")
    assert all(key.enabled for key in await store.keys() if key.name == "alice")
    assert await store.disable_key("alice")
    expected = dataclasses.replace(_KEY, enabled=False)
    assert await (await open_store()).find_key(_KEY.digest) == expected
    assert await store.keys() == (expected,)


async def test_a_deleted_key_is_forgotten_and_its_name_is_free(open_store: OpenStore) -> None:
    store = await open_store()
    await store.add_key(_KEY)
    await store.disable_key("alice")
    assert await store.delete_key("alice")
    assert not await store.delete_key("alice")
    assert await (await open_store()).find_key(_KEY.digest) is None
    assert not await store.has_keys()
    await store.add_key(_KEY)
    assert await store.find_key(_KEY.digest) == _KEY


async def test_keys_are_listed_by_name(store: Store) -> None:
    for name in ("carol", "alice", "bob"):
        await store.add_key(VirtualKey(name, digest(name)))
    assert [key.name for key in await store.keys()] == ["alice", "bob", "carol"]


async def test_a_charge_is_what_an_account_says_at_that_time() -> None:
    charge = Charge.at(Account("key:a", Budget(0.5, Window(Span.HOUR, aligned=True))), 7201.5)
    assert charge == Charge("key:a:1h:calendar", 50 * _CENT, 7200, 7200, 10800.0)
