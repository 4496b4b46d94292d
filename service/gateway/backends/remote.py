"""A provider reached over HTTP as a backend: the executor, behind a breaker for each model."""

from __future__ import annotations

import asyncio
import dataclasses
import logging

from service.catalog.profile import Profile
from service.core.calls import ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Target
from service.gateway.backends.base import CallContext, CallReport
from service.providers.base import Credential
from service.routing.breaker import Breakers, CircuitState
from service.transport.credentials import Credentials
from service.transport.executor import Executor
from service.transport.upstream import Upstream

log = logging.getLogger("service.breaker")

DIRECT_KEY_NAME = "direct"
"""The name, in attempts, of a key that the caller brought along."""


class RemoteBackend:
    """Makes variations with one configured provider.

    Args:
        needs_key: A sentence that tells how to give the provider a key; empty where it works without one.
    """

    def __init__(self, upstream: Upstream, executor: Executor, breakers: Breakers, *, needs_key: str = "") -> None:
        self._upstream = upstream
        self._executor = executor
        self._breakers = breakers
        self._needs_key = needs_key

    def unavailable(self, *, direct_key: bool = False) -> GatewayError | None:
        if direct_key or not self._needs_key or len(self._upstream.credentials):
            return None
        return GatewayError(ErrorKind.UPSTREAM_AUTH, self._needs_key, code="no_provider_key", may_have_run=False)

    def admit(self, model: str) -> GatewayError | None:
        return self._breakers.admit(self._target(model), asyncio.get_running_loop().time())

    def tried(self, model: str, failure: GatewayError | None) -> None:
        target, now = self._target(model), asyncio.get_running_loop().time()
        before = self._breakers.state(target, now)
        if failure is None:
            self._breakers.succeeded(target)
        else:
            self._breakers.failed(target, failure, now)
        _log_change(target, before, self._breakers.state(target, now), failure)

    async def vary(self, call: ProviderCall, profile: Profile, context: CallContext) -> CallReport:
        upstream = self._upstream
        if context.direct_key:
            key = Credential(DIRECT_KEY_NAME, context.direct_key)
            upstream = dataclasses.replace(upstream, credentials=Credentials.only(key))
        elif context.key_names:
            upstream = dataclasses.replace(upstream, credentials=upstream.credentials.limited_to(context.key_names))
        made = await self._executor.run(
            upstream,
            call,
            profile,
            deadline=context.deadline,
            turn_ends=context.turn_ends,
            emit=context.emit,
            raw=context.raw,
        )
        return CallReport(made.result, made.raw_request, made.raw_response)

    def _target(self, model: str) -> Target:
        return Target(self._upstream.endpoint.provider, model)


def _log_change(target: Target, before: CircuitState, after: CircuitState, failure: GatewayError | None) -> None:
    """One line for each time that a target's circuit opens or closes, not for each failure."""
    fields: dict[str, object] = {"target": str(target), "was": before.value}
    if after is CircuitState.OPEN and before is not CircuitState.OPEN:
        if failure is not None:
            fields["error"] = failure.kind.value
        log.warning("circuit opened", extra={"fields": fields})
    elif after is CircuitState.CLOSED and before is not CircuitState.CLOSED:
        log.info("circuit closed", extra={"fields": fields})
