"""Sockets that notice when the other side has vanished."""

from __future__ import annotations

import socket

from aiohappyeyeballs import AddrInfoType

# A provider is silent for minutes while it works. A host that is there answers probes all the same.
_SILENT_BEFORE_PROBE_S = 20
_BETWEEN_PROBES_S = 10
_UNANSWERED_PROBES = 3
# Neither probes nor data unacknowledged for that long: the connection is given up with ETIMEDOUT.
_UNACKNOWLEDGED_MS = 40_000


def open_socket(address: AddrInfoType) -> socket.socket:
    """A TCP socket for that address. When the other host vanishes, its connection breaks within a minute.

    Without this, a host that lost power or its network is noticed when the request's own time is over.
    """
    family, kind, protocol, *_ = address
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENT_BEFORE_PROBE_S)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _BETWEEN_PROBES_S)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _UNANSWERED_PROBES)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
    except BaseException:
        opened.close()
        raise
    return opened
