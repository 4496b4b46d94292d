"""Requests that are done once, however often they are sent: the first works, the others are told what came of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import fields

import orjson

from service.concurrency.tasks import Background
from service.core.errors import ErrorKind, GatewayError
from service.core.values import VariationRequest
from service.gateway.events import Emit, Event, RequestEnded, VisibleEvent
from service.gateway.outcome import Outcome
from service.gateway.replay import Recorded, dump, parse
from service.governance.idempotency import Claim, Idempotency, Once, outcome_unknown

Work = Callable[[Emit], Awaitable[Outcome]]


def request_digest(request: VariationRequest) -> str:
    """A hash of everything that a request asks for: the same in whichever encoding and order of fields it came."""
    plain = {
        each.name: getattr(request, each.name) for each in fields(request) if each.name not in ("image", "warnings")
    }
    asked = orjson.dumps(plain, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(hashlib.sha256(request.image).digest() + asked).hexdigest()


class OnceRunner:
    """Does work once for each name.

    The work goes on when the request that began it is given up: the same request, sent again, finds what came of it.
    """

    def __init__(self, idempotency: Idempotency) -> None:
        self._idempotency = idempotency
        self._working = Background("requests that are done once")

    async def create(self, once: Once, work: Work, emit: Emit, replaying: Callable[[], None]) -> Outcome:
        """The outcome of ``work``, or of the same work that somebody did or does.

        Args:
            emit: Gets the work's events; those of work that somebody else did, all at once.
            replaying: Called before such events.

        Raises:
            GatewayError: As ``work`` and ``Idempotency.found_or_claimed``.
        """
        found = await self._idempotency.found_or_claimed(once)
        if isinstance(found, bytes):
            try:
                recorded = parse(found)
            except ValueError:
                raise outcome_unknown("Another version of this gateway did the request.") from None
            replaying()
            return _told_again(recorded, emit)
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        # If the caller has gone, nobody retrieves the failure: mark it as seen, since it is stored and logged already.
        done.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        self._working.start(self._work(found, work, emit, done))
        return await asyncio.shield(done)

    async def settled(self) -> None:
        """Waits until no work is under way."""
        await self._working.settled()

    async def aclose(self, within_s: float) -> None:
        """Waits for work under way, for ``within_s`` seconds at most."""
        await self._working.aclose(within_s)

    async def _work(self, claim: Claim, work: Work, emit: Emit, done: asyncio.Future[Outcome]) -> None:
        events: list[VisibleEvent] = []

        def noted(event: Event) -> None:
            if isinstance(event, VisibleEvent):
                events.append(event)
            emit(event)

        try:
            async with claim.kept():
                try:
                    outcome = await work(noted)
                except GatewayError as error:
                    if error.may_be_billed:
                        await claim.finish(dump(Recorded(tuple(events), error)))
                    else:
                        await claim.forget()
                    raise
                except Exception:
                    bug = GatewayError(ErrorKind.INTERNAL, "Something went wrong on our side.")
                    await claim.finish(dump(Recorded(tuple(events), bug)))
                    raise
                await claim.finish(dump(Recorded(tuple(events), outcome)))
            done.set_result(outcome)
        except Exception as failure:
            done.set_exception(failure)
        finally:
            if not done.done():
                done.cancel()


def _told_again(recorded: Recorded, emit: Emit) -> Outcome:
    for event in recorded.events:
        emit(event)
    if isinstance(recorded.end, GatewayError):
        emit(RequestEnded(0.0, error=recorded.end))
        raise recorded.end
    emit(RequestEnded(0.0, outcome=recorded.end))
    return recorded.end
