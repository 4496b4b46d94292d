"""From names to addresses: those of operators and providers apart from those that callers choose.

Names of the two kinds share no thread, queue or socket, so that names whose servers are silent, of which a caller can
send any number, never keep a provider from being found. Both are bounded in time and in number.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import aiodns
from aiohttp.abc import AbstractResolver, ResolveResult

from service.transport.own_faults import descriptor_fault

GetAddressInfo = Callable[..., list[tuple[Any, ...]]]


class Resolver(Protocol):
    """From a host name and a port to its addresses as text, best first."""

    def __call__(self, host: str, port: int) -> Awaitable[list[str]]:
        """Raises OSError when there are none, TimeoutError (one of these) when none came in time."""
        ...


class SystemResolver:
    """Looks names up as the operating system is configured to, each in a thread of its own.

    For names that the operator or a provider chose. A lookup cannot be stopped, but it is shared: one name under way
    takes one thread, however many wait for it, and a wait that ends early leaves the thread to end by itself.

    Args:
        timeout_s: Seconds that anybody waits for a lookup.
        most: Most names under way at a time; further ones fail at once.
        getaddrinfo: Another way to look up, for tests.
    """

    def __init__(
        self, *, timeout_s: float = 10.0, most: int = 64, getaddrinfo: GetAddressInfo = socket.getaddrinfo
    ) -> None:
        self._timeout_s = timeout_s
        self._most = most
        self._getaddrinfo = getaddrinfo
        self._under_way: dict[str, asyncio.Future[list[str]]] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        del port  # No name has other addresses for another port.
        looked_up = self._under_way.get(host)
        if looked_up is None:
            looked_up = self._started(host)
        async with asyncio.timeout(self._timeout_s):
            return await asyncio.shield(looked_up)

    def _started(self, host: str) -> asyncio.Future[list[str]]:
        if len(self._under_way) >= self._most:
            raise OSError(errno.EAGAIN, "too many names are being looked up")
        loop = asyncio.get_running_loop()
        looked_up: asyncio.Future[list[str]] = loop.create_future()
        try:
            # A daemon: the process does not wait for a silent name server when it ends.
            threading.Thread(target=self._look_up, args=(host, looked_up, loop), name="resolver", daemon=True).start()
        except RuntimeError as error:
            raise OSError(errno.ENOMEM, "no thread can be started") from error
        self._under_way[host] = looked_up
        looked_up.add_done_callback(lambda ended: self._ended(host, ended))
        return looked_up

    def _ended(self, host: str, looked_up: asyncio.Future[list[str]]) -> None:
        del self._under_way[host]
        # Everybody may have left by now, and nobody else would fetch it.
        looked_up.exception()

    def _look_up(self, host: str, looked_up: asyncio.Future[list[str]], loop: asyncio.AbstractEventLoop) -> None:
        finish: Callable[[], None]
        try:
            found = self._getaddrinfo(host, None, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(_text(family, address) for family, _, _, _, address in found))
        except (OSError, UnicodeError) as error:
            fault = descriptor_fault() or (error if isinstance(error, OSError) else OSError(str(error)))
            finish = lambda: looked_up.set_exception(fault)  # noqa: E731  # bound to this failure
        else:
            finish = lambda: looked_up.set_result(addresses)  # noqa: E731  # bound to this result
        with contextlib.suppress(RuntimeError):
            # The event loop may have ended meanwhile.
            loop.call_soon_threadsafe(finish)


class HostileNameResolver:
    """Looks up names that callers chose by asking the name servers itself: no thread waits, however many are silent.

    It reads ``/etc/hosts`` and ``/etc/resolv.conf``, but asks no other source that the system may be configured to use.
    Close it at the end.

    Args:
        timeout_s: Seconds for one lookup, waiting for its turn included.
        most: Most names under way at a time; further ones wait for their turn.
        name_servers: Asked in place of the system's, such as ``127.0.0.1:5353``.
    """

    def __init__(self, *, timeout_s: float = 5.0, most: int = 64, name_servers: Sequence[str] = ()) -> None:
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(most)
        self._name_servers = list(name_servers) or None
        self._resolver: aiodns.DNSResolver | None = None

    async def __call__(self, host: str, port: int) -> list[str]:
        if self._resolver is None:
            # A server that is silent gets a second question, and has that long to answer each.
            self._resolver = aiodns.DNSResolver(self._name_servers, timeout=self._timeout_s / 2, tries=2)
        async with asyncio.timeout(self._timeout_s), self._turns:
            try:
                found = await self._resolver.getaddrinfo(host, socket.AF_UNSPEC, port=port, type=socket.SOCK_STREAM)
            except aiodns.error.DNSError as error:
                raise descriptor_fault() or OSError(f"the name cannot be resolved: {error}") from None
        return list(dict.fromkeys(_text(node.family, node.addr) for node in found.nodes))

    async def aclose(self) -> None:
        if self._resolver is not None:
            await self._resolver.close()


class ConnectorResolver(AbstractResolver):
    """A resolver as aiohttp's connector wants it."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family  # The connector takes either.
        return [resolved(host, port, address) for address in await self._resolver(host, port)]

    async def close(self) -> None:
        pass


def resolved(host: str, port: int, address: str) -> ResolveResult:
    """An address in text as aiohttp's connector wants it."""
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST,
    )


def _text(family: int, address: tuple[Any, ...]) -> str:
    """The address in a socket address, with its zone where it is local to a link."""
    host = address[0]
    text = host.decode("ascii") if isinstance(host, bytes) else str(host)
    if family == socket.AF_INET6 and len(address) > 3 and address[3] and "%" not in text:
        return f"{text}%{address[3]}"
    return text
