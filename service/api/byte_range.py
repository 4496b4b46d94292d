"""The part of a file that a Range header asks for (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from ``start`` to before ``end`` of a file of ``size`` bytes."""

    start: int
    end: int
    size: int

    @property
    def content_range(self) -> str:
        """The value of the Content-Range header."""
        return f"bytes {self.start}-{self.end - 1}/{self.size}"

    async def of(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """These bytes of the file that the chunks make."""
        position = 0
        async for chunk in chunks:
            first, last = max(self.start - position, 0), min(self.end - position, len(chunk))
            if first < last:
                yield chunk[first:last]
            position += len(chunk)
            if position >= self.end:
                return


def byte_range(header: str, size: int) -> ByteRange | None:
    """The one range that a header asks for; None where the whole file is to be sent.

    Several ranges, other units and what cannot be understood ask for the whole file, as servers may take it.

    Raises:
        ValueError: There is no such part of the file.
    """
    asked = _ONE_RANGE.fullmatch(header.replace(" ", ""))
    if asked is None or not (asked[1] or asked[2]):
        return None
    if not asked[1]:
        start, end = max(size - int(asked[2]), 0), size
    else:
        start, end = int(asked[1]), min(int(asked[2]) + 1, size) if asked[2] else size
        if asked[2] and int(asked[2]) < start:
            return None
    if start >= end:
        raise ValueError(header)
    return ByteRange(start, end, size)
