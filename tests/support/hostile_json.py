"""Answers that are nearly right: a good one with one thing in it wrong, for every thing and many wrongs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_WRONG: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    10**30,
    "",
    "x",
    "\ud800",
    [],
    [None],
    [[]],
    ["x"],
    {},
    {"x": None},
    [{}],
)


def corruptions(good: Any) -> Iterator[Any]:
    """``good`` with each value in it, the whole included, replaced by each of the wrong ones, or left out."""
    yield from _WRONG
    if isinstance(good, dict):
        for name, value in good.items():
            rest = {other: kept for other, kept in good.items() if other != name}
            yield rest
            for wrong in corruptions(value):
                yield {**rest, name: wrong}
    elif isinstance(good, list):
        for position, value in enumerate(good):
            before, after = good[:position], good[position + 1 :]
            yield before + after
            for wrong in corruptions(value):
                yield [*before, wrong, *after]


def corrupted_bodies(good: bytes) -> Iterator[bytes]:
    """The same for the bytes of a JSON body, cut short as well."""
    for wrong in corruptions(json.loads(good)):
        yield json.dumps(wrong).encode()
    for length in range(0, len(good), max(1, len(good) // 20)):
        yield good[:length]
