"""Finds every look within a Hamming distance, exactly: a grid over mean colours, then a popcount scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from service.cache.sketches import KEY_WORDS, SKETCH, Neighbourhood, in_bucket

Words = tuple[npt.NDArray[np.uint64], ...]
Rows = npt.NDArray[np.intp]

# Scratch space for this many rows stays in the processor's cache; a million rows then take about 4 ms.
_CHUNK: Final = 65_536
# Unrelated looks differ in half of these words' 192 bits; hardly one in ten million is within the usual 60 of 256.
_FIRST_WORDS: Final = 3
# Intervals with more rows than this are scanned where they lie; of shorter ones the rows are gathered first.
_LONG: Final = 4_096
_SMALLEST_TAIL: Final = 4_096
_TAIL_SHARE: Final = 64


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry whose look is within the distance; whether its colours are, too, is not known here."""

    id: str
    hamming: int


@dataclass(frozen=True, slots=True)
class Search:
    """A search over what the index held when it was made. Runs on any thread, whatever happens to the index.

    ``rows`` is how many looks will be compared: a million take about 5 ms.
    """

    rows: int
    run: Callable[[], list[Candidate]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Block:
    """Sketches in order of their places, in columns. Never changed."""

    places: npt.NDArray[np.uint64]
    ids: npt.NDArray[np.void]
    words: Words

    @classmethod
    def of(cls, sketches: npt.NDArray[np.void]) -> _Block:
        order = np.argsort(sketches["place"], kind="stable")
        key = sketches["key"]
        return cls(
            sketches["place"][order],
            sketches["id"][order],
            tuple(np.ascontiguousarray(key[:, word][order]) for word in range(KEY_WORDS)),
        )

    def sketches(self) -> npt.NDArray[np.void]:
        rows = np.empty(len(self.places), SKETCH)
        rows["place"], rows["id"] = self.places, self.ids
        for word in range(KEY_WORDS):
            rows["key"][:, word] = self.words[word]
        return rows


@dataclass(frozen=True, slots=True)
class Merge:
    """The next sorted part of an index. ``build`` takes about 0.2 s for a million entries, on any thread."""

    tail: int
    build: Callable[[], _Block] = field(repr=False)


class NearIndex:
    """Sketches of all buckets: most of them sorted, the newest in a short tail that every search looks through.

    Belongs to one thread; only searches and the building of a merge may run on others.
    """

    def __init__(self) -> None:
        self._block = _Block.of(np.empty(0, SKETCH))
        self._tail = np.empty(_SMALLEST_TAIL, SKETCH)
        self._tail_rows = 0

    def __len__(self) -> int:
        return len(self._block.places) + self._tail_rows

    def extend(self, sketches: bytes) -> None:
        """Adds entries, each a sketch of 56 bytes. An entry that is there already is there twice, which does no harm.

        Raises:
            ValueError: The bytes are not whole sketches.
        """
        added = np.frombuffer(sketches, SKETCH)
        needed = self._tail_rows + len(added)
        if needed > len(self._tail):
            # A new array: searches that are under way go on in the old one.
            grown = np.empty(max(needed, 2 * len(self._tail)), SKETCH)
            grown[: self._tail_rows] = self._tail[: self._tail_rows]
            self._tail = grown
        self._tail[self._tail_rows : needed] = added
        self._tail_rows = needed

    def due_merge(self) -> Merge | None:
        """The merge that sorts the tail in, once the tail is long enough; give what it builds to ``adopt``."""
        if self._tail_rows < max(_SMALLEST_TAIL, len(self._block.places) // _TAIL_SHARE):
            return None
        block, tail = self._block, self._tail[: self._tail_rows]
        return Merge(self._tail_rows, lambda: _Block.of(np.concatenate((block.sketches(), tail))))

    def adopt(self, merge: Merge, block: _Block) -> None:
        """Takes what ``merge`` has built for the sorted part. Nothing else may have been adopted meanwhile."""
        rest = self._tail[merge.tail : self._tail_rows].copy()
        self._block = block
        self._tail = np.empty(max(_SMALLEST_TAIL, 2 * len(rest)), SKETCH)
        self._tail[: len(rest)] = rest
        self._tail_rows = len(rest)

    def search(self, where: Neighbourhood, most_different: int) -> Search:
        """A search for every entry whose look differs from the neighbourhood's in at most that many bits.

        It finds the nearest first. Entries of other buckets, or farther away in colour, may be among them; none is
        missing that is of the bucket, within the distance, and within ``MAX_LAYOUT`` in colour.
        """
        block, tail = self._block, self._tail[: self._tail_rows]
        starts = np.searchsorted(block.places, where.starts)
        ends = np.searchsorted(block.places, where.ends)
        intervals = list(_joined(starts.tolist(), ends.tolist()))

        def run() -> list[Candidate]:
            ids, distances = _in_block(block, intervals, where.words, most_different)
            tail_ids, tail_distances = _in_tail(tail, where, most_different)
            distances = np.concatenate((distances, tail_distances))
            order = np.argsort(distances, kind="stable")
            ids = np.concatenate((ids, tail_ids))[order]
            return [
                Candidate(bytes(entry).hex(), distance)
                for entry, distance in zip(ids.tolist(), distances[order].tolist(), strict=True)
            ]

        return Search(sum(end - start for start, end in intervals) + len(tail), run)


def _joined(starts: list[int], ends: list[int]) -> Iterator[tuple[int, int]]:
    """Ascending intervals with empty ones left out and adjoining ones made one."""
    begin = until = 0
    for start, end in zip(starts, ends, strict=True):
        if start >= end:
            continue
        if start > until:
            if until > begin:
                yield begin, until
            begin = start
        until = end
    if until > begin:
        yield begin, until


def _in_block(
    block: _Block, intervals: list[tuple[int, int]], wanted: npt.NDArray[np.uint64], most: int
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]:
    short = [np.arange(start, end) for start, end in intervals if end - start <= _LONG]
    found: list[Rows] = []
    distances = []
    if short:
        rows = np.concatenate(short)
        at, distance = _within(tuple(word[rows] for word in block.words), wanted, most)
        found.append(rows[at])
        distances.append(distance)
    for start, end in intervals:
        if end - start > _LONG:
            at, distance = _within(tuple(word[start:end] for word in block.words), wanted, most)
            found.append(at + start)
            distances.append(distance)
    if not found:
        return block.ids[:0], np.empty(0, np.int64)
    return block.ids[np.concatenate(found)], np.concatenate(distances)


def _in_tail(
    tail: npt.NDArray[np.void], where: Neighbourhood, most: int
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]:
    same = tail[in_bucket(tail["place"], where.bucket)]
    at, distances = _within(tuple(same["key"][:, word] for word in range(KEY_WORDS)), where.words, most)
    return same["id"][at], distances


def _within(words: Words, wanted: npt.NDArray[np.uint64], most: int) -> tuple[Rows, npt.NDArray[np.int64]]:
    """Rows that differ from ``wanted`` in at most ``most`` bits, and in how many."""
    found, distances = [], []
    different = np.empty(min(_CHUNK, len(words[0])), np.uint64)
    for begin in range(0, len(words[0]), _CHUNK):
        end = min(begin + _CHUNK, len(words[0]))
        scratch = different[: end - begin]
        # 192 bits at most, which a byte can count.
        counts = np.zeros(end - begin, np.uint8)
        for word in range(_FIRST_WORDS):
            np.bitwise_xor(words[word][begin:end], wanted[word], out=scratch)
            counts += np.bitwise_count(scratch)
        rows = np.flatnonzero(counts <= most)
        whole = counts[rows].astype(np.int64)
        for word in range(_FIRST_WORDS, KEY_WORDS):
            whole += np.bitwise_count(words[word][begin:end][rows] ^ wanted[word])
        near = whole <= most
        found.append(rows[near] + begin)
        distances.append(whole[near])
    if not found:
        return np.empty(0, np.intp), np.empty(0, np.int64)
    return np.concatenate(found), np.concatenate(distances)
