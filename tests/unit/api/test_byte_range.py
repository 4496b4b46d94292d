"""The part of a file that a Range header asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.api.byte_range import byte_range

FILE = bytes(range(100))


async def chunks(size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(FILE), size):
        yield FILE[start : start + size]


@pytest.mark.parametrize("chunk", [1, 7, 100, 1000])
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", FILE[:1]),
        ("bytes=10-29", FILE[10:30]),
        ("bytes=90-", FILE[90:]),
        ("bytes=90-1000", FILE[90:]),
        ("bytes=-5", FILE[-5:]),
        ("bytes=-1000", FILE),
        ("bytes = 1-2", FILE[1:3]),
    ],
)
async def test_one_range_is_cut_out(header: str, expected: bytes, chunk: int) -> None:
    asked = byte_range(header, len(FILE))
    assert asked is not None
    assert b"".join([piece async for piece in asked.of(chunks(chunk))]) == expected
    assert asked.content_range == f"bytes {asked.start}-{asked.end - 1}/100"


@pytest.mark.parametrize(
    "header", ["", "bytes=", "bytes=-", "bytes=5-1", "bytes=0-1,5-6", "lines=0-1", "bytes=a-b", "bytes=٣-"]
)
def test_what_is_not_one_range_asks_for_the_whole_file(header: str) -> None:
    assert byte_range(header, 100) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_beyond_the_file_is_an_error(header: str) -> None:
    with pytest.raises(ValueError):
        byte_range(header, 100)
