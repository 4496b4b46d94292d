"""The calls that this process is working on: it refuses further ones, waits for their end, or ends them itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from service.api.call import Call
from service.core.errors import ErrorKind, GatewayError

_RETRY_AFTER_S = 1.0
CODE = "shutting_down"


class CallsUnderWay:
    """One instance serves the whole process, on one event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()
        self._refusing = False
        self._ending = False
        self._patience: set[asyncio.Timeout] = set()

    def __len__(self) -> int:
        """The number of calls that have begun and not ended."""
        return self._count

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Around one call, from its arrival until its answer has been handed to gRPC."""
        self._count += 1
        self._none.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._none.set()

    def refusal(self) -> GatewayError | None:
        """The error for a call that begins now; None: it may begin."""
        if not self._refusing:
            return None
        return GatewayError(
            ErrorKind.UNAVAILABLE,
            "This copy of the gateway is shutting down and takes no more requests.",
            code=CODE,
            retry_after_s=_RETRY_AFTER_S,
            may_have_run=False,
        )

    def refuse(self) -> None:
        """From now on no call may begin."""
        self._refusing = True

    async def all_ended(self) -> None:
        """Waits until no call is under way."""
        await self._none.wait()

    def end(self) -> None:
        """Ends the work of all calls, now and later: each fails with the error of ``endable``."""
        self._ending = True
        now = asyncio.get_running_loop().time()
        for patience in self._patience:
            patience.reschedule(now)

    @contextlib.asynccontextmanager
    async def endable(self, call: Call) -> AsyncIterator[None]:
        """Around work that ``end`` may end.

        Raises:
            GatewayError: UNAVAILABLE ``shutting_down``: it was ended. Says whether a provider had been asked.
        """
        try:
            async with asyncio.timeout(0.0 if self._ending else None) as patience:
                self._patience.add(patience)
                try:
                    yield
                finally:
                    self._patience.discard(patience)
        except TimeoutError:
            if not patience.expired():
                raise
            # The call's log line names a provider as soon as one is asked.
            asked = "provider" in call.log
            consequence = "A provider had been asked, and may bill it: do not send it again unseen." if asked else ""
            raise GatewayError(
                ErrorKind.UNAVAILABLE,
                f"This copy of the gateway has shut down before the request was done. {consequence}".strip(),
                code=CODE,
                retry_after_s=None if asked else _RETRY_AFTER_S,
                may_have_run=asked,
            ) from None
