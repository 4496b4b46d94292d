"""Admitting and settling, on both stores."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer

from service.concurrency.tasks import started
from service.core.errors import ErrorKind, GatewayError
from service.governance.budgets import Account, Budget
from service.governance.callers import ANYBODY, Caller, CallerKind
from service.governance.governor import Governor, OnStoreFailure
from service.governance.keys import Team, VirtualKey, digest
from service.governance.rates import Counts, Rate, Standing
from service.governance.redis_store import RedisStore
from service.governance.sqlite_store import SqliteStore
from service.governance.store import Reservation, Store
from service.governance.windows import Span, Window

OpenStore = Callable[[], Coroutine[Any, Any, Store]]
_CENT = 10_000_000
_DAY = Window(Span.DAY)


def _caller(*, budgets: tuple[Budget, ...] = (), rates: tuple[Rate, ...] = (), team: Team | None = None) -> Caller:
    key = VirtualKey("alice", digest("x"), budgets=budgets, rates=rates, team=team.name if team else "")
    return Caller(CallerKind.VIRTUAL_KEY, "alice", key, team)


async def _admit(
    governor: Governor,
    caller: Caller,
    *,
    images: int,
    estimate_usd: float,
    told: Callable[[Standing], None] = lambda _: None,
) -> Reservation | None:
    """A request that no cache answers."""
    await governor.count(caller, images=images, told=told)
    return await governor.reserve(caller, estimate_usd)


@pytest.fixture
async def governor(store: Store) -> AsyncIterator[Governor]:
    governor = Governor(store, OnStoreFailure.REFUSE)
    yield governor
    await governor.aclose()


async def _spent(store: Store, owner: str = "key:alice", window: Window = _DAY) -> int:
    return sum((await store.spent(Account(owner, Budget(0, window)).name, 0)).values())


async def _refusal(admitting: Coroutine[Any, Any, Any]) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await admitting
    return caught.value


async def test_who_has_no_limits_leaves_no_trace(governor: Governor, store: Store) -> None:
    reservation = await _admit(governor, ANYBODY, images=10, estimate_usd=99.0)
    await governor.settle(reservation, 99.0)
    assert reservation is None


async def test_the_estimate_is_reserved_and_the_cost_settled_on_key_and_team(governor: Governor, store: Store) -> None:
    caller = _caller(budgets=(Budget(1, _DAY),), team=Team("pictures", budgets=(Budget(5, _DAY),)))
    reservation = await _admit(governor, caller, images=1, estimate_usd=0.10)
    assert await _spent(store) == await _spent(store, "team:pictures") == 10 * _CENT
    await governor.settle(reservation, 0.04)
    assert await _spent(store) == await _spent(store, "team:pictures") == 4 * _CENT


async def test_a_refund_makes_room_again(governor: Governor) -> None:
    caller = _caller(budgets=(Budget(0.10, _DAY),))
    reservation = await _admit(governor, caller, images=1, estimate_usd=0.10)
    error = await _refusal(_admit(governor, caller, images=1, estimate_usd=0.10))
    assert error.kind is ErrorKind.BUDGET_EXCEEDED
    assert error.retry_after_s is not None
    await governor.settle(reservation, 0.0)
    await _admit(governor, caller, images=1, estimate_usd=0.10)


async def test_an_unknown_cost_leaves_the_estimate(governor: Governor, store: Store) -> None:
    reservation = await _admit(governor, _caller(budgets=(Budget(1, _DAY),)), images=1, estimate_usd=0.10)
    await governor.settle(reservation, None)
    await governor.settle(reservation, 0.0)
    assert await _spent(store) == 10 * _CENT


async def test_a_team_that_is_out_of_money_stops_its_keys(governor: Governor, store: Store) -> None:
    caller = _caller(budgets=(Budget(9, _DAY),), team=Team("pictures", budgets=(Budget(0.01, _DAY),)))
    error = await _refusal(_admit(governor, caller, images=1, estimate_usd=0.02))
    assert "team 'pictures'" in error.message
    assert await _spent(store) == 0


async def test_two_hundred_at_once_on_a_budget_for_fifty_let_fifty_through(open_store: OpenStore) -> None:
    governors = [Governor(await open_store(), OnStoreFailure.REFUSE) for _ in range(2)]
    caller = _caller(budgets=(Budget(2, _DAY),))

    async def request(number: int) -> None:
        governor = governors[number % 2]
        reservation = await _admit(governor, caller, images=1, estimate_usd=0.04)
        await governor.settle(reservation, 0.04)

    answers = await asyncio.gather(*map(request, range(200)), return_exceptions=True)
    refused = [answer.kind for answer in answers if isinstance(answer, GatewayError)]
    assert answers.count(None) == 50
    assert refused == 150 * [ErrorKind.BUDGET_EXCEEDED]


async def test_cancelling_the_request_does_not_stop_its_settlement(governor: Governor, store: Store) -> None:
    reservation = await _admit(governor, _caller(budgets=(Budget(1, _DAY),)), images=1, estimate_usd=0.10)
    settling = started(governor.settle(reservation, 0.04))
    await asyncio.sleep(0)
    settling.cancel()
    await asyncio.wait([settling])
    await governor.aclose()
    assert await _spent(store) == 4 * _CENT


async def test_a_rate_limit_refuses_with_the_time_until_there_is_room(governor: Governor) -> None:
    caller = _caller(rates=(Rate(Counts.REQUESTS, 2, 60),))
    told: list[Standing] = []
    for _ in range(2):
        await _admit(governor, caller, images=1, estimate_usd=0, told=told.append)
    error = await _refusal(_admit(governor, caller, images=1, estimate_usd=0, told=told.append))
    assert error.kind is ErrorKind.RATE_LIMITED
    assert error.retry_after_s == pytest.approx(60, abs=1)
    assert [(standing.limit, standing.remaining) for standing in told] == [(2, 1), (2, 0), (2, 0)]
    assert told[-1].resets_s == pytest.approx(60, abs=1)


async def test_waiting_as_told_is_enough_and_waiting_less_is_not(governor: Governor) -> None:
    caller = _caller(rates=(Rate(Counts.IMAGES, 4, 1),))
    await _admit(governor, caller, images=2, estimate_usd=0)
    await asyncio.sleep(0.3)
    await _admit(governor, caller, images=2, estimate_usd=0)
    error = await _refusal(_admit(governor, caller, images=3, estimate_usd=0))
    assert error.retry_after_s is not None
    # Two of the four leave first, but three need both pairs gone.
    assert 0.7 < error.retry_after_s <= 1 + 1 / 60
    ready_at = time.monotonic() + error.retry_after_s
    sooner = await _refusal(_admit(governor, caller, images=2, estimate_usd=0))
    assert sooner.retry_after_s is not None
    assert sooner.retry_after_s < error.retry_after_s
    await asyncio.sleep(max(0.0, ready_at - time.monotonic()) + 0.01)
    await _admit(governor, caller, images=3, estimate_usd=0)


async def test_images_above_the_limit_itself_are_no_reason_to_wait(governor: Governor) -> None:
    error = await _refusal(_admit(governor, _caller(rates=(Rate(Counts.IMAGES, 4, 60),)), images=5, estimate_usd=0))
    assert (error.kind, error.param, error.retry_after_s) == (ErrorKind.INVALID_REQUEST, "n", None)


async def test_a_request_that_one_limit_refuses_uses_up_none_of_the_others(governor: Governor, store: Store) -> None:
    team = Team("pictures", rates=(Rate(Counts.IMAGES, 1, 60),))
    caller = _caller(rates=(Rate(Counts.REQUESTS, 10, 60),), team=team)
    await _admit(governor, caller, images=1, estimate_usd=0)
    await _refusal(_admit(governor, caller, images=1, estimate_usd=0))
    standing = await governor.standing(caller)
    assert standing is not None
    assert standing.remaining == 9


async def test_standing_is_that_of_the_tightest_limit_and_counts_nothing(governor: Governor) -> None:
    caller = _caller(rates=(Rate(Counts.REQUESTS, 10, 60), Rate(Counts.REQUESTS, 3, 3600), Rate(Counts.IMAGES, 1, 60)))
    for _ in range(3):
        assert await governor.standing(caller) == Standing(3, 3, 0.0)
    await _admit(governor, caller, images=1, estimate_usd=0)
    standing = await governor.standing(caller)
    assert standing is not None
    assert (standing.limit, standing.remaining) == (3, 2)
    # The window, and what is left of the slice that the request was counted in.
    assert 3600 - 1 <= standing.resets_s <= 3660


async def test_rate_limits_hold_across_replicas(open_store: OpenStore) -> None:
    governors = [Governor(await open_store(), OnStoreFailure.REFUSE) for _ in range(2)]
    caller = _caller(rates=(Rate(Counts.REQUESTS, 10, 60),))
    answers = await asyncio.gather(
        *(_admit(governors[number % 2], caller, images=1, estimate_usd=0) for number in range(40)),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, GatewayError)]
    assert len(refused) == 30
    assert {error.kind for error in refused} == {ErrorKind.RATE_LIMITED}


# The tests below are about a server that goes away, which a file does not.


@pytest.fixture
async def remote(own_redis_server: RedisServer) -> AsyncIterator[RedisStore]:
    store = RedisStore(own_redis_server.url)
    yield store
    await store.aclose()


_LIMITED = _caller(budgets=(Budget(1, _DAY),), rates=(Rate(Counts.REQUESTS, 1000, 60),))


async def _back(governor: Governor) -> None:
    """Waits until the store has been found to be back."""
    async with asyncio.timeout(10):
        while await governor.standing(_LIMITED) is None:  # noqa: ASYNC110 - a server's return is no event here
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("leave", ["stop", "freeze"])
async def test_without_its_store_a_gateway_refuses_soon_and_recovers_by_itself(
    leave: str, own_redis_server: RedisServer, remote: RedisStore
) -> None:
    governor = Governor(remote, OnStoreFailure.REFUSE)
    await _admit(governor, _LIMITED, images=1, estimate_usd=0.01)
    getattr(own_redis_server, leave)()
    begun = time.monotonic()
    error = await _refusal(_admit(governor, _LIMITED, images=1, estimate_usd=0.01))
    assert time.monotonic() - begun < 5
    assert (error.kind, error.code) == (ErrorKind.UNAVAILABLE, "state_unavailable")
    own_redis_server.start() if leave == "stop" else own_redis_server.thaw()
    await _back(governor)
    await _admit(governor, _LIMITED, images=1, estimate_usd=0.01)
    await governor.aclose()


async def test_without_its_store_a_gateway_lets_through_if_told_to(
    own_redis_server: RedisServer, remote: RedisStore
) -> None:
    governor = Governor(remote, OnStoreFailure.ALLOW)
    own_redis_server.stop()
    reservation = await _admit(governor, _LIMITED, images=1, estimate_usd=0.01)
    await governor.settle(reservation, 0.01)
    assert await governor.standing(_LIMITED) is None
    await governor.aclose()


async def test_a_silent_store_is_waited_for_once_and_not_by_every_request(
    own_redis_server: RedisServer, remote: RedisStore
) -> None:
    governor = Governor(remote, OnStoreFailure.ALLOW)
    await _admit(governor, _LIMITED, images=1, estimate_usd=0.01)
    own_redis_server.freeze()
    await _admit(governor, _LIMITED, images=1, estimate_usd=0.01)
    loop_turns = 0
    admitting = started(_admitted(governor, 100))
    while not admitting.done():
        await asyncio.sleep(0)
        loop_turns += 1
    # Nothing was waited for: neither a time-out nor an answer.
    assert await admitting == [None] * 100
    assert loop_turns < 1000
    own_redis_server.thaw()
    await _back(governor)
    await governor.aclose()


async def _admitted(governor: Governor, times: int) -> list[object]:
    """The reservations of that many requests, one after the other."""
    found: list[object] = []
    for _ in range(times):
        reservation = await _admit(governor, _LIMITED, images=1, estimate_usd=0.01)
        await governor.settle(reservation, 0.01)
        found.append(reservation)
    return found


async def test_what_is_settled_while_the_store_is_away_counts_once_it_is_back(
    own_redis_server: RedisServer, remote: RedisStore
) -> None:
    governor = Governor(remote, OnStoreFailure.REFUSE)
    reservation = await _admit(governor, _LIMITED, images=1, estimate_usd=0.10)
    own_redis_server.stop()
    async with asyncio.timeout(5):
        await governor.settle(reservation, 0.04)
    own_redis_server.start()
    await governor.aclose()
    assert await _spent(remote) == 4 * _CENT


async def test_kill_9_in_mid_load_loses_nothing_that_was_settled(tmp_path: Path) -> None:
    file = tmp_path / "governance.sqlite3"
    program = textwrap.dedent(
        f"""
        import asyncio, pathlib, sys
        from service.governance.sqlite_store import SqliteStore
        from service.governance.store import Charge, Reservation

        async def request(store, number):
            charge = Charge("a", 10**18, 0, 0, 4e9)
            reservation = Reservation(str(number), 1_000_000, 4e9, (charge,))
            await store.reserve(reservation)
            await store.settle(reservation, {_CENT})
            sys.stdout.write(".")
            sys.stdout.flush()

        async def worker(store, first):
            for number in range(first, 10**9, 8):
                await request(store, number)

        async def main():
            store = await SqliteStore.open(pathlib.Path({str(file)!r}))
            await asyncio.gather(*(worker(store, first) for first in range(8)))

        asyncio.run(main())
        """
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert process.stdout is not None
    told = len(await process.stdout.readexactly(200))
    process.kill()
    told += len(await process.stdout.read())
    await process.wait()
    store = await SqliteStore.open(file)
    try:
        spent = sum((await store.spent("a", 0)).values())
    finally:
        await store.aclose()
    # Eight workers: at most eight more were settled without having said so, or are still reserved.
    assert told * _CENT <= spent <= (told + 8) * _CENT


@pytest.mark.parametrize("cost_usd", [1e30, 1e300, float("inf"), float("nan"), -1.0])
async def test_an_amount_out_of_all_reason_is_settled_too(governor: Governor, store: Store, cost_usd: float) -> None:
    caller = _caller(budgets=(Budget(5.0, _DAY),))
    reservation = await _admit(governor, caller, images=1, estimate_usd=0.01)
    await governor.settle(reservation, cost_usd)
    spent = await _spent(store)
    assert spent == (1_000_000 * 100 * _CENT if cost_usd in (1e30, 1e300) else _CENT)
    # The next request is judged as ever.
    assert (await _refusal(_admit(governor, caller, images=1, estimate_usd=1e30))).code in ("", "budget_exceeded")


async def test_large_amounts_add_up_in_every_store(governor: Governor, store: Store) -> None:
    caller = _caller(budgets=(Budget(1_000_000.0, _DAY),))
    reservations = [await _admit(governor, caller, images=1, estimate_usd=0.0) for _ in range(40)]
    for reservation in reservations:
        await governor.settle(reservation, 1e30)
    assert await _spent(store) == 40 * 1_000_000 * 100 * _CENT
