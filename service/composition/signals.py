"""The signals that stop a process: a first one, and a second one that hurries."""

from __future__ import annotations

import asyncio
import contextlib
import signal


class StopSignals:
    """SIGINT and SIGTERM as they come.

    Attributes:
        first: The signal that came first; None: none has.
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    def listen(self) -> None:
        """Takes both signals over from Python's own handlers, on the running event loop."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self.came, number)

    def came(self, number: signal.Signals) -> None:
        """Notes one signal."""
        if self.first is None:
            self.first = number
            self._stop.set()
        else:
            self._hurry.set()

    @property
    def hurried(self) -> bool:
        """Whether a second signal has come."""
        return self._hurry.is_set()

    async def stop(self) -> None:
        """Waits for the first signal."""
        await self._stop.wait()

    async def hurry(self, within_s: float | None = None) -> None:
        """Waits for the second signal, for ``within_s`` seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._hurry.wait()
