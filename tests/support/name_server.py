"""A name server on loopback that answers, or is silent, as a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Mapping

_TYPES = {4: 1, 6: 28}  # A and AAAA


class NameServer(asyncio.DatagramProtocol):
    """Knows a few names; about every other it says nothing at all.

    Attributes:
        asked: The names it was asked for, in order.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self.asked: list[str] = []
        self.address = ""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]  # as typeshed's
        self._transport = transport
        host, port = transport.get_extra_info("sockname")
        self.address = f"{host}:{port}"

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name, end = _name_in(data)
        self.asked.append(name)
        if name not in self._names:
            return
        address = ipaddress.ip_address(self._names[name])
        question = data[12 : end + 4]
        is_asked_for = int.from_bytes(data[end : end + 2]) == _TYPES[address.version]
        answer = b"\xc0\x0c" + question[-4:] + (60).to_bytes(4) + len(address.packed).to_bytes(2) + address.packed
        head = data[:2] + b"\x81\x80" + b"\x00\x01" + (b"\x00\x01" if is_asked_for else b"\x00\x00") + bytes(4)
        self._transport.sendto(head + question + (answer if is_asked_for else b""), addr)


def _name_in(question: bytes) -> tuple[str, int]:
    """The name that a DNS message asks for (RFC 1035, section 4.1.2), and where its type stands."""
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode())
        at += 1 + question[at]
    return ".".join(labels).lower(), at + 1


@contextlib.asynccontextmanager
async def name_server(names: Mapping[str, str] | None = None) -> AsyncIterator[NameServer]:
    """A server that knows these names and their addresses."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: NameServer(names or {}), ("127.0.0.1", 0), family=socket.AF_INET
    )
    try:
        yield server
    finally:
        transport.close()
