"""The step before any provider is asked: where the caller's request may go, how often, and for how much."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from service.catalog.pricing import estimated_usd
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Target, VariationRequest
from service.gateway.directory import Directory
from service.gateway.events import Emit, LimitStanding
from service.gateway.record import Record
from service.governance.callers import Caller
from service.governance.governor import Governor
from service.governance.store import Reservation

Reserve = Callable[[], Awaitable[None]]
"""Reserves the estimated cost of a request."""


class Admission:
    """Lets requests in.

    Args:
        governor: Keeps rate limits and budgets; None where there are none to keep.
    """

    def __init__(self, directory: Directory, governor: Governor | None = None) -> None:
        self._directory = directory
        self._governor = governor

    def route(self, request: VariationRequest, caller: Caller) -> tuple[Target, ...]:
        """The targets to try, in order, all of which the caller may use.

        Raises:
            GatewayError: NOT_FOUND for a name that means nothing here; PERMISSION_DENIED where the caller may not use
                the model, or one of the fallbacks, which are named.
        """
        if caller.confined:
            return self._confined_route(request)
        return self._directory.route(request.model, request.fallbacks, caller.key, request)

    def affordable(self, targets: tuple[Target, ...], caller: Caller) -> tuple[tuple[Target, ...], tuple[str, ...]]:
        """The targets that the caller's budget can be charged for, and a warning for each of the others.

        All of them where the caller has no budget, or where none has a price: ``admitted`` refuses those.
        """
        if self._governor is None or not caller.accounts:
            return targets, ()
        unpriced = [target for target in targets if self._is_unpriced(target)]
        if not unpriced or len(unpriced) == len(targets):
            return targets, ()
        warnings = [
            f"{target} was not asked: this key has a budget, and its price is not known." for target in unpriced
        ]
        return tuple(target for target in targets if target not in unpriced), tuple(dict.fromkeys(warnings))

    async def count_refused(self, caller: Caller, emit: Emit) -> None:
        """Counts a request that is refused for what is wrong with it against its caller's rate limits: reading it is
        work, too.

        Raises:
            GatewayError: As ``Governor.count``: the caller is over a limit, and is told that instead.
        """
        if self._governor is not None and caller.rates:
            await self._governor.count(caller, images=0, told=lambda standing: emit(LimitStanding(standing)))

    def _is_unpriced(self, target: Target) -> bool:
        try:
            profile = self._directory.profile(target)
        except GatewayError:
            # It is not configured or not there: it fails before it costs anything.
            return False
        return profile.price is None and not profile.free

    @contextlib.asynccontextmanager
    async def admitted(
        self,
        request: VariationRequest,
        targets: tuple[Target, ...],
        caller: Caller,
        record: Record,
        emit: Emit,
    ) -> AsyncIterator[Reserve]:
        """Around a request: it is counted against the rate limits before, and what it cost is settled after.

        The value reserves its estimated cost, and is to be called before any provider is asked; a request that is
        answered from the cache costs nothing and needs no room in a budget.

        What failed is refunded, but for calls that had come to an end with images by then. Work that was cut short,
        because the caller left or ran out of time, may be billed all the same: there the estimate stays.

        Raises:
            GatewayError: As ``Governor.count``; from the value as ``Governor.reserve``, and PERMISSION_DENIED
                ``price_unknown`` for a model whose price is not known, asked for by a caller with a budget.
        """
        governor = self._governor
        if governor is None or not (caller.rates or caller.accounts):
            yield _nothing_to_reserve
            return
        reservation: Reservation | None = None

        async def reserve() -> None:
            nonlocal reservation
            if caller.accounts:
                reservation = await governor.reserve(caller, self._estimate(request, targets))

        await governor.count(caller, images=request.n, told=lambda standing: emit(LimitStanding(standing)))
        cost_usd: float | None = None
        try:
            yield reserve
            cost_usd = self._cost_when_cut_short(record) if record.cut_short else record.cost_usd
        except GatewayError:
            cost_usd = self._cost_when_cut_short(record) if record.cut_short else record.cost_usd or 0.0
            raise
        except BaseException:
            cost_usd = self._cost_when_cut_short(record)
            raise
        finally:
            await governor.settle(reservation, cost_usd)

    def _cost_when_cut_short(self, record: Record) -> float | None:
        target = record.target
        if target is None:
            return record.cost_usd or 0.0
        try:
            free = self._directory.profile(target).free
        except GatewayError:
            # It is not configured or not there: nothing was asked of it.
            free = True
        return record.cost_usd or 0.0 if free else None

    def _estimate(self, request: VariationRequest, targets: tuple[Target, ...]) -> float:
        """The cost at the dearest of the targets: one of them makes the images."""
        estimates = []
        for target in targets:
            try:
                profile = self._directory.profile(target)
            except GatewayError:
                # It is not configured or not there: it fails before it costs anything.
                continue
            estimate = estimated_usd(request, profile)
            if estimate is None:
                raise GatewayError(
                    ErrorKind.PERMISSION_DENIED,
                    f"This key has a budget, and the price of {target} is not known. The operator can set it under "
                    f"providers.{target.provider}.models.",
                    code="price_unknown",
                    param="model",
                    may_have_run=False,
                )
            estimates.append(estimate)
        return max(estimates, default=0.0)

    def _confined_route(self, request: VariationRequest) -> tuple[Target, ...]:
        """Of a caller who brought a provider's key and proved nothing to us: just that provider, with that key.

        A wrong key must not open what our own keys or our own machines pay for.
        """
        if request.fallbacks:
            listed = ", ".join(request.fallbacks)
            raise _denied(
                f"With a provider's own key there are no fallbacks: {listed:.300} would need a key of this gateway.",
                "fallback_not_allowed",
                "fallbacks",
            )
        target = self._directory.route(request.model, ())[0]
        if not self._directory.names_provider(request.model) or not self._directory.provider(target).checks_keys:
            raise GatewayError(
                ErrorKind.UNAUTHENTICATED,
                "The credential is not known here. A provider's own key works for models of that provider only, "
                "named as provider/model.",
                may_have_run=False,
            )
        return (target,)


async def _nothing_to_reserve() -> None:
    """For callers without a budget."""


def _denied(message: str, code: str, param: str) -> GatewayError:
    return GatewayError(ErrorKind.PERMISSION_DENIED, message, code=code, param=param, may_have_run=False)
