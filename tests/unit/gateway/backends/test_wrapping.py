"""A backend may stand around another one and see all that happens in it, without anybody noticing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fake_backends import FakeBackend, directory, fails, make_gateway, makes, png, provider, request_context

from service.catalog.profile import Profile
from service.concurrency.pools import ImagingPool
from service.core.calls import AttemptEnded, CallEvent, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import VariationRequest
from service.gateway.backends.base import Backend, CallContext, CallReport


class Counting:
    """Counts the attempts of the backend in it."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.attempts: list[str] = []

    def unavailable(self, *, direct_key: bool = False) -> GatewayError | None:
        return self._inner.unavailable(direct_key=direct_key)

    def admit(self, model: str) -> GatewayError | None:
        return self._inner.admit(model)

    def tried(self, model: str, failure: GatewayError | None) -> None:
        self._inner.tried(model, failure)

    async def vary(self, call: ProviderCall, profile: Profile, context: CallContext) -> CallReport:
        def emit(event: CallEvent) -> None:
            if isinstance(event, AttemptEnded):
                self.attempts.append(event.attempt.outcome)
            context.emit(event)

        return await self._inner.vary(call, profile, dataclasses.replace(context, emit=emit))


async def test_a_wrapped_backend_sees_attempts_and_changes_nothing(tmp_path: Path) -> None:
    first = Counting(FakeBackend(fails(ErrorKind.UNAVAILABLE)))
    second = Counting(FakeBackend(makes()))
    names = directory(provider("a", first), provider("b", second))
    pool = ImagingPool(1)
    gateway = make_gateway(names, pool, tmp_path)
    made = await gateway.create(VariationRequest(image=png(), fallbacks=("b/m",)), request_context())
    pool.close()
    assert (first.attempts, second.attempts) == (["unavailable"], ["success"])
    assert [attempt.outcome for attempt in made.attempts] == ["unavailable", "success"]
