"""Admits requests within their caller's rate limits and budgets, and settles what they cost."""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Callable, Sequence
from enum import StrEnum

from service.concurrency.tasks import Background
from service.core.errors import ErrorKind, GatewayError
from service.governance.budgets import Account, exceeded, to_nanos, within_reason
from service.governance.callers import Caller
from service.governance.rates import Counts, RateAccount, Standing, limited, standing_of, tightest
from service.governance.store import Charge, Counted, RateCharge, Reservation, Store
from service.storage.errors import StorageError

log = logging.getLogger("service.governance")

_FIRST_RETRY_S = 0.25
_LONGEST_RETRY_S = 5.0
_LEAVING_WAIT_S = 5.0


class OnStoreFailure(StrEnum):
    """The treatment of requests whose limits cannot be checked because the store is away."""

    REFUSE = "refuse"
    ALLOW = "allow"


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

    async def count(
        self, caller: Caller, *, images: int, told: Callable[[Standing], None] = lambda _: None
    ) -> Standing | None:
        """Counts a request against the caller's rate limits, on all of them or, where one refuses, on none.

        Args:
            images: How many images it asks for.
            told: Is told how the caller stands with the request limit, also when the request is refused.

        Returns:
            The same; None where the caller has no request limit, or where the store is away and the operator lets
            requests through then.

        Raises:
            GatewayError: RATE_LIMITED, with when to come back; INVALID_REQUEST for more images than a rate limit ever
                lets through; UNAVAILABLE where the store is away and the operator refuses requests then.
        """
        try:
            return await self._count(caller.rates, images, told)
        except StorageError as error:
            self._let_through_or_refuse(error)
            return None

    async def reserve(self, caller: Caller, estimate_usd: float) -> Reservation | None:
        """Reserves the estimated cost of a request; ``settle`` it in the end.

        Args:
            estimate_usd: The most that the request is going to cost.

        Returns:
            None where the caller has no budget, or where the store is away and the operator lets requests through.

        Raises:
            GatewayError: BUDGET_EXCEEDED, with when to come back; UNAVAILABLE as for ``count``.
        """
        try:
            return await self._reserve(caller.accounts, to_nanos(within_reason(estimate_usd)))
        except StorageError as error:
            self._let_through_or_refuse(error)
            return None

    async def settle(self, reservation: Reservation | None, cost_usd: float | None) -> None:
        """Replaces the estimate by what the request cost; None leaves the estimate in place: nobody knows better. So
        does an amount that is none, as a provider's answer may hold.

        Is done once this returns, unless the store is away: then it is tried until the store is back. Cancelling
        this does not stop it.
        """
        if reservation is None:
            return
        known = cost_usd is not None and math.isfinite(cost_usd) and cost_usd >= 0
        nanos = to_nanos(within_reason(cost_usd)) if known and cost_usd is not None else reservation.nanos
        await asyncio.shield(self._settle(reservation, nanos))

    async def standing(self, caller: Caller) -> Standing | None:
        """The caller's standing with its request limits, without counting anything; None: it has none, or the
        store is away.
        """
        accounts = [account for account in caller.rates if account.rate.counts is Counts.REQUESTS]
        now = self._now()
        try:
            counted = await self._store.count([RateCharge.at(account, 0, now) for account in accounts])
        except StorageError:
            return None
        return _standing(accounts, counted, now)

    async def aclose(self) -> None:
        """Gives settlements that wait for the store a few seconds more."""
        self._leaving.set()
        await self._settling.aclose(_LEAVING_WAIT_S)

    def _let_through_or_refuse(self, error: StorageError) -> None:
        log.error("store", extra={"fields": {"error": str(error), "then": self._on_failure.value}})
        if self._on_failure is OnStoreFailure.REFUSE:
            raise GatewayError(
                ErrorKind.UNAVAILABLE,
                "The limits of this key cannot be checked just now.",
                code="state_unavailable",
                retry_after_s=1.0,
                may_have_run=False,
            ) from None

    async def _count(
        self, accounts: tuple[RateAccount, ...], images: int, told: Callable[[Standing], None]
    ) -> Standing | None:
        """Counts the request on every account, or, where one of them refuses, on none."""
        if not accounts:
            return None
        now = self._now()
        costs = [images if account.rate.counts is Counts.IMAGES else 1 for account in accounts]
        counted = await self._store.count(
            [RateCharge.at(account, cost, now) for account, cost in zip(accounts, costs, strict=True)]
        )
        standing = _standing(accounts, counted, now)
        if counted.refused is None:
            if standing is not None:
                told(standing)
            return standing
        account, units = accounts[counted.refused], counted.units[counted.refused]
        rate, cost = account.rate, costs[counted.refused]
        if cost > rate.amount:
            if standing is not None:
                told(standing)
            raise limited(account, cost, None)
        wait_s = rate.room_at(units, cost, now) - now
        if rate.counts is Counts.REQUESTS:
            standing = Standing(rate.amount, 0, standing_of(rate, units, now).resets_s)
        if standing is not None:
            told(standing)
        raise limited(account, cost, wait_s)

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
                finally:
                    if not tried.done():
                        tried.set_result(None)
                if self._leaving.is_set():
                    # Until ``aclose`` ends it.
                    await asyncio.sleep(_FIRST_RETRY_S)
                    continue
                try:
                    async with asyncio.timeout(pause_s):
                        await self._leaving.wait()
                except TimeoutError:
                    pause_s = min(2 * pause_s, _LONGEST_RETRY_S)
        finally:
            if not tried.done():
                tried.set_result(None)


def _standing(accounts: Sequence[RateAccount], counted: Counted, now: float) -> Standing | None:
    """The caller's standing with the request limit that refuses first."""
    return tightest(
        [
            standing_of(account.rate, units, now)
            for account, units in zip(accounts, counted.units, strict=True)
            if account.rate.counts is Counts.REQUESTS
        ]
    )
