"""Admits requests within their caller's rate limits and budgets, and settles what they cost."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from service.concurrency.tasks import Background
from service.core.errors import ErrorKind, GatewayError
from service.governance.budgets import Account, exceeded, to_nanos
from service.governance.callers import Caller
from service.governance.rates import Counts, RateAccount, Standing, limited, tightest
from service.governance.store import Charge, Reservation, Store
from service.storage.errors import StorageError

log = logging.getLogger("service.governance")

_ROUNDING_S = 0.001
_FIRST_RETRY_S = 0.25
_LONGEST_RETRY_S = 5.0
_LEAVING_WAIT_S = 5.0


class OnStoreFailure(StrEnum):
    """What becomes of requests whose limits cannot be checked because the store is away."""

    REFUSE = "refuse"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that was let in. ``standing`` is None where the caller has no request limit."""

    reservation: Reservation | None = None
    standing: Standing | None = None


class Governor:
    """One instance serves the whole process. Close it before its store, so that nothing stays unsettled.

    Args:
        now: Unix time in seconds.
    """

    def __init__(self, store: Store, on_failure: OnStoreFailure, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._on_failure = on_failure
        self._now = now
        self._settling = Background("settlement of a reservation")
        self._leaving = asyncio.Event()

    async def admit(
        self, caller: Caller, *, images: int, estimate_usd: float, told: Callable[[Standing], None] = lambda _: None
    ) -> Admission:
        """Counts a request against the caller's rate limits, then reserves its estimated cost.

        Args:
            images: How many images it asks for.
            estimate_usd: What it is going to cost at most.
            told: Is told how the caller stands with the request limit, also when the request is refused.

        Raises:
            GatewayError: RATE_LIMITED or BUDGET_EXCEEDED, with when to come back; INVALID_REQUEST for more images
                than a rate limit ever lets through; UNAVAILABLE where the store is away and the operator refuses
                requests then.
        """
        try:
            standing = await self._count(caller.rates, images, told)
            reservation = await self._reserve(caller.accounts, to_nanos(estimate_usd))
        except StorageError as error:
            log.error("store", extra={"fields": {"error": str(error), "then": self._on_failure.value}})
            if self._on_failure is OnStoreFailure.ALLOW:
                return Admission()
            raise GatewayError(
                ErrorKind.UNAVAILABLE,
                "The limits of this key cannot be checked just now.",
                code="state_unavailable",
                retry_after_s=1.0,
                may_have_run=False,
            ) from None
        return Admission(reservation, standing)

    async def settle(self, admission: Admission, cost_usd: float | None) -> None:
        """Replaces the estimate by what the request cost; None leaves the estimate in place: nobody knows better.

        Is done once this returns, unless the store is away: then it is tried until the store is back. Cancelling
        this does not stop it.
        """
        reservation = admission.reservation
        if reservation is None:
            return
        nanos = reservation.nanos if cost_usd is None else to_nanos(cost_usd)
        await asyncio.shield(self._settle(reservation, nanos))

    async def standing(self, caller: Caller) -> Standing | None:
        """How the caller stands with its request limits, without counting anything; None: it has none, or the
        store is away.
        """
        standings = []
        try:
            for account in caller.rates:
                if account.rate.counts is Counts.REQUESTS:
                    used = await self._store.usage(account, account.rate.amount)
                    newest = await self._store.usage(account, 1)
                    left_s = newest.since + account.rate.window_s - self._now() if newest.count else 0.0
                    standings.append(Standing(account.rate.amount, account.rate.amount - used.count, max(0.0, left_s)))
        except StorageError:
            return None
        return tightest(standings)

    async def aclose(self) -> None:
        """Gives settlements that wait for the store a last chance."""
        self._leaving.set()
        await self._settling.aclose(_LEAVING_WAIT_S)

    async def _count(
        self, accounts: tuple[RateAccount, ...], images: int, told: Callable[[Standing], None]
    ) -> Standing | None:
        """Counts the request on every account. Each is looked at first, so that a request which one of them refuses
        uses up none of the others; under a race it may, which errs on the side of the limit."""
        usages = await asyncio.gather(*(self._store.usage(account, account.rate.amount) for account in accounts))
        costs = [images if account.rate.counts is Counts.IMAGES else 1 for account in accounts]
        before = tightest(
            [
                Standing(account.rate.amount, account.rate.amount - usage.count, float(account.rate.window_s))
                for account, usage in zip(accounts, usages, strict=True)
                if account.rate.counts is Counts.REQUESTS
            ]
        )
        if before is not None:
            told(before)
        for account, usage, cost in zip(accounts, usages, costs, strict=True):
            if usage.count + cost > account.rate.amount:
                raise await self._limited(account, cost, told)
        # Side by side, so that a store which writes to a disk does so once for all of them.
        hits = await asyncio.gather(*map(self._store.hit, accounts, costs))
        for account, cost, hit in zip(accounts, costs, hits, strict=True):
            if not hit:
                raise await self._limited(account, cost, told)
        if before is None:
            return None
        standing = replace(before, remaining=before.remaining - 1)
        told(standing)
        return standing

    async def _limited(self, account: RateAccount, cost: int, told: Callable[[Standing], None]) -> GatewayError:
        rate = account.rate
        if cost > rate.amount:
            return limited(account, cost, None)
        # Room for ``cost`` is there once no more than amount - cost of the newest are left in the window.
        in_the_way = await self._store.usage(account, rate.amount - cost + 1)
        # Stores round the time they counted at; who waits as told must not be too early for that.
        wait_s = max(0.0, in_the_way.since + rate.window_s - self._now()) + _ROUNDING_S
        if rate.counts is Counts.REQUESTS:
            newest = await self._store.usage(account, 1)
            told(Standing(rate.amount, 0, max(wait_s, newest.since + rate.window_s - self._now())))
        return limited(account, cost, wait_s)

    async def _reserve(self, accounts: tuple[Account, ...], nanos: int) -> Reservation | None:
        if not accounts:
            return None
        now = self._now()
        charges = tuple(Charge.at(account, now) for account in accounts)
        reservation = Reservation(uuid.uuid4().hex, nanos, now, charges)
        try:
            refused = await self._store.reserve(reservation)
        except (StorageError, asyncio.CancelledError):
            # It may have been made all the same. Nothing was bought with it.
            self._settle(reservation, 0)
            raise
        if refused is not None:
            raise exceeded(accounts[refused.position], refused.spent, nanos, now)
        return reservation

    def _settle(self, reservation: Reservation, nanos: int) -> asyncio.Future[None]:
        """Begins to settle. The future is done once that has been tried; trying again goes on without anybody."""
        tried: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settling.start(self._settle_until_done(reservation, nanos, tried))
        return tried

    async def _settle_until_done(self, reservation: Reservation, nanos: int, tried: asyncio.Future[None]) -> None:
        pause_s = _FIRST_RETRY_S
        try:
            while True:
                try:
                    await self._store.settle(reservation, nanos)
                    return
                except StorageError as error:
                    log.error("settle", extra={"fields": {"reservation": reservation.id, "error": str(error)}})
                    if self._leaving.is_set():
                        return
                finally:
                    if not tried.done():
                        tried.set_result(None)
                try:
                    async with asyncio.timeout(pause_s):
                        await self._leaving.wait()
                except TimeoutError:
                    pause_s = min(2 * pause_s, _LONGEST_RETRY_S)
        finally:
            if not tried.done():
                tried.set_result(None)
