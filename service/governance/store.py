"""What has to be remembered, by whatever remembers it: SQLite for one machine, Redis for any number of replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from service.governance.budgets import Account
from service.governance.keys import VirtualKey
from service.governance.rates import RateAccount


class NameTakenError(Exception):
    """There is a key of this name already."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a request puts on one account.

    Attributes:
        account: The account's name.
        limit_nanos: What the slices that count may add up to.
        current_slice: Start of the slice it is charged to, in Unix seconds.
        first_slice: Start of the oldest slice that counts.
        forgotten_at: Unix time from which the current slice no longer counts.
    """

    account: str
    limit_nanos: int
    current_slice: int
    first_slice: int
    forgotten_at: float

    @classmethod
    def at(cls, account: Account, now: float) -> Charge:
        """What is charged to ``account`` at ``now`` (Unix seconds)."""
        window = account.budget.window
        current = window.current_slice(now)
        return cls(
            account.name,
            account.budget.limit_nanos,
            current,
            window.first_slice(now),
            window.forgotten_at(current),
        )


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money set aside for one request. From ``reserve`` on, it counts as spent until it is settled.

    So a process that dies between the two leaves its estimates spent: the providers were asked, and will bill.

    ``made_at``: Unix time in seconds.
    """

    id: str
    nanos: int
    made_at: float
    charges: tuple[Charge, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """No room: ``position`` is that of the first charge that did not fit, ``spent`` its account's nanos by slice."""

    position: int
    spent: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of a rate limit is used.

    Attributes:
        count: Units within the window, at most the depth that was asked for.
        since: Unix time of the oldest of them; of now when there are none.
    """

    count: int
    since: float


class Store(Protocol):
    """Remembers keys, spending and rates. Every method raises StorageError when it cannot, and none waits for long.

    Methods may be called from any number of tasks, and of processes.
    """

    async def reserve(self, reservation: Reservation) -> Refused | None:
        """Puts the reservation on all of its accounts, or on none. One step: nobody gets in between.

        A reservation of nothing always fits. One that is there already is not made again.
        """
        ...

    async def settle(self, reservation: Reservation, nanos: int) -> None:
        """Replaces what was reserved by what it cost; 0 refunds it. Does nothing the second time.

        When this returns, the amount survives the death of this process, and with SQLite of the machine.
        """
        ...

    async def spent(self, account: str, first_slice: int) -> Mapping[int, int]:
        """Nanos of an account by the start of their slice, from ``first_slice`` on."""
        ...

    async def hit(self, account: RateAccount, cost: int) -> bool:
        """Counts ``cost`` units if they are within the limit; whether they were."""
        ...

    async def usage(self, account: RateAccount, depth: int) -> Usage:
        """The newest ``depth`` units within the window."""
        ...

    async def add_key(self, key: VirtualKey) -> None:
        """Keeps a new key.

        Raises:
            NameTakenError: There is one of this name.
        """
        ...

    async def find_key(self, digest: bytes) -> VirtualKey | None:
        """The key whose secret has this SHA-256."""
        ...

    async def keys(self) -> Sequence[VirtualKey]:
        """All keys, by name."""
        ...

    async def has_keys(self) -> bool:
        """Whether there is any key, disabled ones included."""
        ...

    async def disable_key(self, name: str) -> bool:
        """Turns a key off for good; whether there is one of this name."""
        ...

    async def aclose(self) -> None:
        """Lets go of files and connections. What was settled is kept."""
        ...
