"""Failures of this process and not of the other side: it has run out of something that a connection needs."""

from __future__ import annotations

import errno
import logging
import re
import socket
import time

log = logging.getLogger("service.transport")

_EXHAUSTED = {
    errno.EMFILE: "file descriptors (see ulimit -n)",
    errno.ENFILE: "file descriptors of the whole system",
    errno.ENOBUFS: "memory for sockets",
    errno.ENOMEM: "memory",
}
# With IPv6 switched off, connecting to an IPv6 address says the same, so that beside other failures it proves nothing.
_NO_PORT = {errno.EADDRNOTAVAIL: "local ports or addresses"}
_NUMBER = re.compile(r"\[Errno (\d+)\]")
_LOG_EVERY_S = 10.0


def own_fault(error: BaseException) -> str:
    """The resource that this process has run out of, as a noun; empty if the failure is of another kind.

    Args:
        error: As the operating system raised it; several in one, as happy eyeballs collects them, are told apart by
            their text.
    """
    if not isinstance(error, OSError):
        return ""
    numbers = {error.errno} if error.errno is not None else {int(number) for number in _NUMBER.findall(str(error))}
    for number, noun in _EXHAUSTED.items():
        if number in numbers:
            return noun
    return _NO_PORT[errno.EADDRNOTAVAIL] if numbers == set(_NO_PORT) else ""


def descriptor_fault() -> OSError | None:
    """The error that opening a socket meets just now, if it is a fault of our own.

    Looking up a name needs descriptors too, and says "no such name" when there are none.
    """
    try:
        socket.socket().close()
    except OSError as error:
        return error if own_fault(error) else None
    return None


class FaultLog:
    """Tells the operator of faults of our own: each kind at once, and again at most every ten seconds."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def tell(self, noun: str) -> None:
        """Notes that this process has run out of ``noun``."""
        now = time.monotonic()
        if now - self._told.get(noun, -_LOG_EVERY_S) >= _LOG_EVERY_S:
            self._told[noun] = now
            log.error("this process has run out of %s: requests fail until there are some again", noun)


fault_log = FaultLog()
