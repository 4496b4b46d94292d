"""One call to one provider: requests sent, answers handed back, failures retried as the rules allow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from service.catalog.profile import Profile
from service.core.calls import AttemptEnded, CallResult, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import SUCCESS, Attempt
from service.providers.base import Credential, Exchange
from service.providers.http import HttpRequest, HttpResponse, Purpose
from service.routing.rules import RULES, RetrySame
from service.transport.capture import captured_request, captured_response
from service.transport.clock import Clock
from service.transport.send import require_trusted, send, signed_request
from service.transport.upstream import Emit, Upstream

# Timers may end a moment early; a key must not be at rest any more when its rest has been waited for.
_TIMER_SLACK_S = 0.002


class Conversation:
    """The state of one call. Used once, by the executor.

    Attributes:
        credential: The key in use; None where the provider is asked without one.
        stop: The request that would stop work still under way at the provider, if there is any to stop.
    """

    def __init__(
        self,
        client: httpx.AsyncBaseTransport,
        clock: Clock,
        upstream: Upstream,
        call: ProviderCall,
        profile: Profile,
        deadline: float,
        emit: Emit,
    ) -> None:
        self._client = client
        self._clock = clock
        self._upstream = upstream
        self._settings = upstream.settings
        self._call = call
        self._profile = profile
        self._deadline = deadline
        self._emit = emit
        self.credential: Credential | None = None
        self.stop: HttpRequest | None = None
        self._has_key = False
        self._tried: set[str] = set()
        # Whether the provider has taken on work: from then on no other key will do, it may be another account's.
        self._accepted = False
        self._retries = 0
        self._polls = 0
        self._attempt_began = clock.now()
        self._status: int | None = None
        self._first_request: HttpRequest | None = None
        self._last_response: HttpResponse | None = None

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Records how the call ends; a bug in a translator ends it like any failure, as INTERNAL."""
        try:
            yield
        except GatewayError as error:
            self._emit(AttemptEnded(self._failed_attempt(error)))
            raise
        except asyncio.CancelledError:
            self._emit(AttemptEnded(self._attempt(ErrorKind.CANCELLED.value)))
            raise
        except Exception as bug:
            self._emit(AttemptEnded(self._attempt(ErrorKind.INTERNAL.value)))
            raise GatewayError(ErrorKind.INTERNAL, "The call to the provider failed unexpectedly.") from bug
        self._emit(AttemptEnded(self._attempt(SUCCESS, self._status)))

    async def result(self) -> CallResult:
        """Converses until the provider has made the images.

        Raises:
            GatewayError: As the translator, the provider or the network has it; or out of time.
        """
        exchange, response = self._open(), None
        try:
            while True:
                try:
                    step = _advance(exchange, response)
                except GatewayError as error:
                    # The failure of work that was taken on. The wire format knows whether it was done and billed.
                    await self._start_again_or_raise(error)
                    exchange.close()
                    exchange, response = self._open(), None
                    continue
                if isinstance(step, CallResult):
                    return step
                response = await self._answer(step)
        finally:
            exchange.close()

    def captured(self) -> tuple[Any, Any]:
        """The body that started the work and the body of the last answer, redacted; None where there is none."""
        request, response = self._first_request, self._last_response
        return (
            captured_request(request.body if request else None, self.credential),
            captured_response(response, self.credential) if response else None,
        )

    def _open(self) -> Exchange:
        self._accepted = False
        return self._upstream.translator.vary(self._call, self._profile, self._upstream.endpoint)

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        """The provider's 2xx answer, however often it has to be asked."""
        require_trusted(request, self._upstream.endpoint)
        self.stop = request.cancel
        submits = request.purpose is Purpose.SUBMIT
        if not submits:
            await self._before_poll(request)
        failures = 0
        while True:
            try:
                response = await self._send(request)
                break
            except GatewayError as error:
                if submits:
                    await self._start_again_or_raise(error)
                else:
                    await self._poll_again_or_raise(error, failures)
                    failures += 1
        self.stop = None
        self._accepted = self._accepted or submits
        return response

    async def _send(self, request: HttpRequest) -> HttpResponse:
        if not self._has_key:
            self._choose_key(set())
        left, by_deadline = self._time_left()
        if left <= 0:
            raise self._out_of_time(by_deadline)
        if request.purpose is not Purpose.SUBMIT and self._settings.poll_timeout_s < left:
            left, by_deadline = self._settings.poll_timeout_s, False
        signed = signed_request(request, self._upstream, self.credential, self._clock.utc_now())
        self._first_request = self._first_request or request
        self._status = None
        most = self._settings.max_response_bytes
        try:
            response = await send(self._client, signed, timeout_s=left, max_response_bytes=most)
        except TimeoutError:
            raise self._out_of_time(by_deadline, may_have_run=True) from None
        self._status = response.status
        if not 200 <= response.status < 300:
            raise self._upstream.translator.failure(response)
        self._last_response = response
        return response

    async def _before_poll(self, request: HttpRequest) -> None:
        if self._polls >= self._settings.max_polls:
            raise GatewayError(ErrorKind.TIMEOUT, f"The provider was not done after {self._polls} polls.")
        self._polls += 1
        if request.delay_s > 0:
            left, _ = self._time_left()
            # A wait for as long as there is time ends in a poll that finds none left.
            await self._clock.sleep(max(0.0, min(request.delay_s, left)))

    async def _start_again_or_raise(self, error: GatewayError) -> None:
        """Returns when the work may be asked for again, by the rules, having waited as long as they say."""
        delay = self._settings.backoff.delay_s(self._retries, self._clock.draw(), error.retry_after_s)
        self._rest_key(error, delay)
        failed = self._failed_attempt(error)
        wait = self._wait_before_retry(error, delay)
        if wait is None:
            raise error
        self._emit(AttemptEnded(failed))
        if wait > 0:
            await self._clock.sleep(wait)
        self._attempt_began, self._status = self._clock.now(), None

    def _wait_before_retry(self, error: GatewayError, delay: float) -> float | None:
        """Seconds to wait before the same target is asked again, None when it must not be. Chooses the key."""
        rule, any_key = RULES[error.kind].retry_same, False
        if rule is RetrySame.NO or (error.may_have_run and not self._profile.free):
            return None
        if rule is not RetrySame.AFTER_BACKOFF and not self._accepted and len(self._upstream.credentials):
            try:
                self._choose_key(self._tried)
                return 0.0
            except GatewayError as none_left:
                if none_left.kind is ErrorKind.RATE_LIMITED:
                    any_key = True
                    delay = (none_left.retry_after_s or 0.0) + _TIMER_SLACK_S
        if rule is RetrySame.OTHER_KEY or self._retries >= self._settings.max_retries:
            return None
        if delay > self._settings.max_retry_wait_s or delay >= self._deadline - self._clock.now():
            return None
        self._retries += 1
        # Whichever is back first will do, unless the work was taken on with this one.
        self._has_key = self._has_key and not any_key
        return delay

    async def _poll_again_or_raise(self, error: GatewayError, failures: int) -> None:
        """Returns when a failed poll may be repeated. The work is under way, so this bears more."""
        delay = self._settings.backoff.delay_s(failures, self._clock.draw(), error.retry_after_s)
        self._rest_key(error, delay)
        left, _ = self._time_left()
        if not RULES[error.kind].retry_poll or failures >= self._settings.max_poll_failures or delay >= left:
            raise error
        await self._clock.sleep(delay)

    def _choose_key(self, avoid: set[str]) -> None:
        now = self._clock.now()
        self.credential = self._upstream.credentials.choose(self._call.model, now, self._clock.draw(), avoid)
        self._has_key = True
        if self.credential is not None:
            self._tried.add(self.credential.name)

    def _rest_key(self, error: GatewayError, delay: float) -> None:
        """Leaves alone a key that was refused or rate-limited: a 403 and a 429 speak of this model only."""
        if self.credential is None or not self._has_key:
            return
        if error.kind is ErrorKind.UPSTREAM_AUTH:
            rest, model = self._settings.refused_key_rest_s, self._call.model if error.upstream_status == 403 else ""
        elif error.kind is ErrorKind.RATE_LIMITED:
            rest, model = delay, self._call.model
        else:
            return
        now = self._clock.now()
        self._upstream.credentials.rest(self.credential, now + rest, error.kind, now, model)

    def _time_left(self) -> tuple[float, bool]:
        """Seconds left for this attempt, and whether it is the caller's deadline that ends it."""
        now = self._clock.now()
        of_deadline = self._deadline - now
        of_attempt = self._attempt_began + self._settings.attempt_timeout_s - now
        return (of_deadline, True) if of_deadline <= of_attempt else (of_attempt, False)

    def _out_of_time(self, by_deadline: bool, *, may_have_run: bool = False) -> GatewayError:
        may_have_run = may_have_run or self._accepted
        if by_deadline:
            message = "The request's time ran out before the provider answered."
            return GatewayError(ErrorKind.DEADLINE_EXCEEDED, message, may_have_run=may_have_run)
        return GatewayError(ErrorKind.TIMEOUT, "The provider did not answer in time.", may_have_run=may_have_run)

    def _failed_attempt(self, error: GatewayError) -> Attempt:
        status = error.upstream_status
        if status is None and error.kind is not ErrorKind.TIMEOUT:
            # The answer that the failure was read from: a 200 of no use, for example.
            status = self._status
        return self._attempt(error.kind.value, status)

    def _attempt(self, outcome: str, status: int | None = None) -> Attempt:
        """What has just ended, as it is recorded."""
        return Attempt(
            provider=self._upstream.endpoint.provider,
            model=self._call.model,
            key=self.credential.name if self.credential and self._has_key else "",
            latency_ms=round((self._clock.now() - self._attempt_began) * 1000),
            outcome=outcome,
            status=status,
        )


def _advance(exchange: Exchange, response: HttpResponse | None) -> HttpRequest | CallResult:
    try:
        return next(exchange) if response is None else exchange.send(response)
    except StopIteration as end:
        made: CallResult = end.value
        return made
