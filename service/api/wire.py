"""The outermost fields of a protobuf message, found in its bytes before anything is made of them.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator

from service.core.errors import ErrorKind, GatewayError

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


def outer_fields(raw: bytes) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field's content, in the order in which they stand; nothing is copied.

    Raises:
        GatewayError: INVALID_REQUEST ``malformed_request`` where the bytes are no message.
    """
    position, size = 0, len(raw)
    while position < size:
        tag, position = _varint(raw, position)
        kind = tag & 7
        start = position
        if kind == _DELIMITED:
            length, start = _varint(raw, position)
            position = start + length
        elif kind == _VARINT:
            _, position = _varint(raw, position)
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise malformed()
        if position > size:
            raise malformed()
        yield tag >> 3, start, position


def delimited(number: int, length: int) -> bytes:
    """Tag and length of a field whose content of ``length`` bytes follows."""
    return _written(number << 3 | _DELIMITED) + _written(length)


def malformed() -> GatewayError:
    """The error for bytes that are no message of the kind that they should be."""
    return GatewayError(
        ErrorKind.INVALID_REQUEST,
        "The request cannot be read: it is nested too deep, holds text that is not UTF-8, or is cut off.",
        code="malformed_request",
        may_have_run=False,
    )


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    for place in range(position, min(position + _LONGEST_VARINT, len(raw))):
        byte = raw[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
        shift += 7
    raise malformed()


def _written(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
