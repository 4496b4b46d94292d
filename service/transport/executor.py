"""Drives conversations with providers: everything about them that needs a socket, a clock or chance."""

from __future__ import annotations

import math

import httpx

from service.catalog.profile import Profile
from service.concurrency.tasks import Background
from service.core.calls import ProviderCall
from service.core.errors import GatewayError
from service.providers.base import Credential
from service.providers.http import HttpRequest
from service.transport.clock import SYSTEM_CLOCK, Clock
from service.transport.conversation import Conversation
from service.transport.downloads import downloaded
from service.transport.send import send, signed_request
from service.transport.upstream import CallOutcome, EmitCallEvent, Fetch, Upstream

_LONGEST_CANCEL_ANSWER = 1_000_000


class Executor:
    """Makes calls to providers over HTTP. One instance serves the whole process; close it at the end.

    Args:
        client: From ``open_client``; stays the caller's to close, after this.
        fetch: Downloads results that a provider hands over as URLs.
    """

    def __init__(self, client: httpx.AsyncBaseTransport, fetch: Fetch, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._client = client
        self._fetch = fetch
        self._clock = clock
        self._cancelling = Background("cancellation of abandoned work at a provider")

    async def run(
        self,
        upstream: Upstream,
        call: ProviderCall,
        profile: Profile,
        *,
        deadline: float,
        turn_ends: float = math.inf,
        emit: EmitCallEvent,
        raw: bool = False,
    ) -> CallOutcome:
        """Makes the images of one call.

        Nothing that may have been paid for is repeated: work is started again only where the failure proves that
        it was not done, or ``profile.free`` says that doing it again costs nothing.

        Cancelling this stops the work at the provider too, where it has a way: the request for that is sent
        apart, so that the caller need not wait for it.

        Args:
            deadline: The instant of the clock at which the caller stops waiting. No wait outlasts it.
            turn_ends: The instant at which the target's share of that time ends.
            emit: Takes each image as soon as it is there, and every attempt as it ends. When this raises a
                GatewayError, the last attempt has its kind.
            raw: Whether to capture what was sent and received.

        Raises:
            GatewayError: The call failed; images emitted before stay valid. DEADLINE_EXCEEDED and TIME_SHARE_USED
                are not the provider's fault.
        """
        conversation = Conversation(
            self._client,
            self._clock,
            upstream,
            call,
            profile,
            deadline=deadline,
            turn_ends=turn_ends,
            emit=emit,
        )
        settings = upstream.settings
        try:
            with conversation.recorded():
                result = await conversation.result()
                result = await downloaded(
                    result, self._fetch, emit, clock=self._clock, left=conversation.time_left, policy=settings.retry
                )
        finally:
            if conversation.stop is not None:
                self._cancelling.start(self._send_cancel(conversation.stop, conversation.credential, upstream))
        raw_request, raw_response = conversation.captured() if raw else (None, None)
        return CallOutcome(result, raw_request, raw_response)

    async def aclose(self) -> None:
        """Waits for the requests that stop abandoned work; each has its own time limit."""
        await self._cancelling.settled()

    async def _send_cancel(self, request: HttpRequest, credential: Credential | None, upstream: Upstream) -> None:
        """Best effort: there is nobody left to tell when it fails."""
        try:
            signed = signed_request(request, upstream, credential, self._clock.utc_now())
            await send(
                self._client,
                signed,
                timeout_s=upstream.settings.cancel_timeout_s,
                max_response_bytes=_LONGEST_CANCEL_ANSWER,
                way=upstream.way,
            )
        except (GatewayError, TimeoutError):
            pass
