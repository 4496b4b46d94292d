"""One call to one provider: requests sent, answers handed back, failures repeated as the retry machine says."""

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
from service.routing.retry import OUT_OF_TIME, Again, GiveUp, Repeat, RetryState, TimeLeft
from service.transport.capture import captured_request, captured_response
from service.transport.clock import Clock
from service.transport.dialogue import Dialogue
from service.transport.send import require_trusted, send, signed_request
from service.transport.upstream import EmitCallEvent, Upstream


class Conversation:
    """One call. Used once, by the executor. Every decision is ``RetryState``'s.

    Args:
        turn_ends: As in ``RetryState``.

    Attributes:
        stop: The request that would stop work still under way at the provider, if there is any to stop.
    """

    def __init__(
        self,
        client: httpx.AsyncBaseTransport,
        clock: Clock,
        upstream: Upstream,
        call: ProviderCall,
        profile: Profile,
        *,
        deadline: float,
        turn_ends: float,
        emit: EmitCallEvent,
    ) -> None:
        self._client = client
        self._clock = clock
        self._upstream = upstream
        self._call = call
        self._profile = profile
        self._emit = emit
        self._state = RetryState(
            upstream.settings.retry,
            call.model,
            deadline=deadline,
            turn_ends=turn_ends,
            began=clock.now(),
            free=profile.free,
        )
        self.stop: HttpRequest | None = None
        self._status: int | None = None
        self._first_request: HttpRequest | None = None
        self._last_response: HttpResponse | None = None

    @property
    def credential(self) -> Credential | None:
        """The key in use; None where none is chosen, or the provider is asked without one."""
        return self._upstream.credentials.named(self._state.key)

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
        dialogue = Dialogue(self._exchange)
        try:
            step, repeated = dialogue.begin(), False
            while isinstance(step, HttpRequest):
                response = await self._answer(step, repeated=repeated)
                try:
                    step, repeated = dialogue.answer(response), False
                except GatewayError as error:
                    if not self._state.asks_again_after(error):
                        # The provider says so itself: nothing goes on there.
                        self.stop = None
                    again = await self._again_or_raise(error)
                    repeated = again.repeat is Repeat.REQUEST
                    step = dialogue.take_back_answer() if repeated else dialogue.start_over()
            self.stop = None
            return step
        finally:
            dialogue.close()

    def time_left(self) -> TimeLeft:
        """Until when the attempt may go on, and what ends it."""
        return self._state.time_left(self._clock.now())

    def captured(self) -> tuple[Any, Any]:
        """The body that started the work and the body of the last answer, redacted; None where there is none."""
        request, response = self._first_request, self._last_response
        return (
            captured_request(request.body if request else None, self.credential),
            captured_response(response, self.credential) if response else None,
        )

    def _exchange(self) -> Exchange:
        return self._upstream.translator.vary(self._call, self._profile, self._upstream.endpoint)

    async def _answer(self, request: HttpRequest, *, repeated: bool) -> HttpResponse:
        """The provider's 2xx answer, however often it has to be asked.

        Args:
            repeated: Whether an earlier answer to this request was of no use, so that it has been waited for.
        """
        self.stop = request.cancel
        require_trusted(request, self._upstream.endpoint)
        if request.purpose is Purpose.SUBMIT:
            self._state = self._state.starting()
        elif not repeated:
            self._state, wait = self._state.asking(request.delay_s, self._clock.now())
            if wait > 0:
                await self._clock.sleep(wait)
        while True:
            try:
                response = await self._send(request)
            except GatewayError as error:
                await self._again_or_raise(error)
            else:
                self._state = self._state.was_answered()
                return response

    async def _send(self, request: HttpRequest) -> HttpResponse:
        now = self._clock.now()
        self._state = self._state.keyed(self._upstream.credentials.ring, now, self._clock.draw())
        left, settings = self.time_left(), self._upstream.settings
        if left.seconds <= 0:
            raise left.error(may_have_run=self._state.accepted)
        if request.purpose is not Purpose.SUBMIT and settings.poll_timeout_s < left.seconds:
            left = TimeLeft(settings.poll_timeout_s, ErrorKind.TIMEOUT)
        signed = signed_request(request, self._upstream, self.credential, self._clock.utc_now())
        self._first_request = self._first_request or request
        self._status = None
        try:
            response = await send(
                self._client,
                signed,
                timeout_s=left.seconds,
                max_response_bytes=settings.max_response_bytes,
                way=self._upstream.way,
            )
        except TimeoutError:
            raise left.error(may_have_run=True) from None
        self._status = response.status
        if not 200 <= response.status < 300:
            raise self._upstream.translator.failure(response)
        self._last_response = response
        self._upstream.credentials.worked(self._state.key, self._call.model)
        return response

    async def _again_or_raise(self, error: GatewayError) -> Again:
        """Does what the machine says after a failure: raises, or returns once the wait is over."""
        credentials, now = self._upstream.credentials, self._clock.now()
        decision = self._state.after(error, now, draw=self._clock.draw(), keys=credentials.ring)
        if decision.rest is not None:
            rest = decision.rest
            credentials.rest(rest.name, rest.until, rest.reason, now, rest.model)
        if isinstance(decision, GiveUp):
            raise decision.error
        if decision.ends_attempt:
            self._emit(AttemptEnded(self._failed_attempt(error)))
        self._state = decision.state
        if decision.wait > 0:
            await self._clock.sleep(decision.wait)
        self._state = self._state.resumed(decision, self._clock.now())
        if decision.ends_attempt:
            self._status = None
        return decision

    def _failed_attempt(self, error: GatewayError) -> Attempt:
        status = error.upstream_status
        if status is None and error.kind not in OUT_OF_TIME:
            # The answer that the failure was read from: a 200 of no use, for example.
            status = self._status
        return self._attempt(error.kind.value, status)

    def _attempt(self, outcome: str, status: int | None = None) -> Attempt:
        """The record of the attempt that has just ended."""
        return Attempt(
            provider=self._upstream.endpoint.provider,
            model=self._call.model,
            key=self._state.key,
            latency_ms=round((self._clock.now() - self._state.began) * 1000),
            outcome=outcome,
            status=status,
        )
