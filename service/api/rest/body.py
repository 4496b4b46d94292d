"""google.api.HttpBody, in which Envoy hands requests over and takes answers: read in place, written in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.api.wire import delimited, malformed, outer_fields

_CONTENT_TYPE, _DATA = 1, 2


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body: the bytes from ``start`` to ``end`` of the message that brought it.

    Images of megabytes are in it, so it is looked through where it stands.
    """

    content_type: str
    raw: bytes = field(repr=False)
    start: int
    end: int

    @property
    def view(self) -> memoryview:
        """The body, not copied."""
        return memoryview(self.raw)[self.start : self.end]

    def __len__(self) -> int:
        return self.end - self.start


def read_body(raw: bytes) -> Body:
    """The body in an HttpBody message.

    Raises:
        GatewayError: INVALID_REQUEST when the bytes are none.
    """
    content_type, start, end = "", 0, 0
    for number, first, last in outer_fields(raw):
        if number == _CONTENT_TYPE:
            try:
                content_type = raw[first:last].decode()
            except UnicodeDecodeError:
                raise malformed() from None
        elif number == _DATA:
            start, end = first, last
    return Body(content_type, raw, start, end)


def whole_body(content_type: str, data: bytes) -> Body:
    """A body that is in no message."""
    return Body(content_type, data, 0, len(data))


def written_body(content_type: str, pieces: Sequence[bytes]) -> bytes:
    """An HttpBody message as it goes over the wire, with the pieces' bytes for its data."""
    kind = content_type.encode()
    data = delimited(_DATA, sum(map(len, pieces)))
    return b"".join([delimited(_CONTENT_TYPE, len(kind)), kind, data, *pieces])
