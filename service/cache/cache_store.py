"""The interface of a cache store: SQLite for one machine, Redis for any number of replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from service.cache.entries import Entry, StoredResult
from service.imaging.perceptual_key import PerceptualKey


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a store: bytes as ``Entry.size`` counts them, and entries."""

    max_bytes: int
    max_entries: int


@dataclass(frozen=True, slots=True)
class Position:
    """The position up to which an index has followed a store's additions.

    ``life`` is another one after a store has lost what it held: what was followed before means nothing then.
    """

    life: bytes = b""
    number: int = 0


START = Position()
"""The position of an index that holds nothing."""


@dataclass(frozen=True, slots=True)
class Additions:
    """Sketches of entries in the order in which they were added, those left out that are gone again.

    Attributes:
        sketches: As ``sketches.SKETCH``, one after the other.
        until: The position of an index that has taken these.
        more: Whether there are further ones after that.
        anew: Whether the index has to forget what it held before it takes these.
    """

    sketches: bytes = field(repr=False)
    until: Position
    more: bool = False
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """The facts that decide whether a candidate is a hit."""

    bucket: bytes = field(repr=False)
    look: PerceptualKey
    aspect: float


class CacheStore(Protocol):
    """Keeps entries, their images with them, within its bounds: what was not used for longest goes first.

    Times are Unix seconds. Every method raises StorageError when it cannot, and none waits for long. Methods may be
    called from any number of tasks, and of processes.
    """

    async def find(self, direct: bytes, now: float) -> StoredResult | None:
        """The result under this ``direct`` digest, unless it has expired; marks it as used."""
        ...

    async def read(self, entry_id: str, now: float) -> StoredResult | None:
        """The result of this id, unless it is gone or has expired; marks it as used."""
        ...

    async def additions(self, since: Position) -> Additions:
        """The entries added after a position, a limited number at a time."""
        ...

    async def summaries(self, entry_ids: Sequence[str], now: float) -> Mapping[str, Summary]:
        """Summaries of those of these entries that are there and have not expired."""
        ...

    async def put(self, entry: Entry, now: float) -> bool:
        """Keeps an entry in place of any other with its ``direct`` digest; makes room for it first.

        Returns:
            False where it is too large to be kept at all.
        """
        ...

    async def delete(self, entry_id: str, scope: str) -> bool:
        """Removes an entry, if it is of this scope; whether it did."""
        ...

    async def delete_namespace(self, scope: str, namespace: str) -> int:
        """Removes every entry of a scope's namespace; returns how many."""
        ...

    async def sweep(self, now: float) -> int:
        """Removes what has expired, and what is beyond the bounds; returns how many."""
        ...

    async def count(self) -> int:
        """The number of entries, expired ones included."""
        ...

    async def aclose(self) -> None:
        """Lets go of files and connections. What was put is kept."""
        ...
