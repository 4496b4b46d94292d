"""The interface of a store of keys, spending and rates: SQLite for one machine, Redis for any number of replicas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from service.governance.budgets import Account
from service.governance.keys import VirtualKey
from service.governance.rates import SLICES_PER_WINDOW, RateAccount

_SHORTEST_KEPT_S: Final = 86_400


class NameTakenError(Exception):
    """There is a key of this name already."""


@dataclass(frozen=True, slots=True)
class Charge:
    """The charge of a request to one account.

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

    @property
    def kept_since(self) -> int:
        """Slices before this one may be removed. Well before the first that counts: a clock that was set forth makes
        slices look old, and once it is set back they have to be there still."""
        length_s = math.ceil(self.forgotten_at) - self.current_slice
        return self.first_slice - max(length_s, _SHORTEST_KEPT_S)

    @classmethod
    def at(cls, account: Account, now: float) -> Charge:
        """The charge to ``account`` at ``now`` (Unix seconds)."""
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
class RateCharge:
    """The units that a request counts on one rate limit.

    Attributes:
        account: The name of the rate limit's account.
        limit: The number that the units of the slices which count may add up to.
        units: 0 only looks.
        current_slice: Number of the slice that they are counted in.
        window_s: Length of the limit's window in seconds.
    """

    account: str
    limit: int
    units: int
    current_slice: int
    window_s: int

    @classmethod
    def at(cls, account: RateAccount, units: int, now: float) -> RateCharge:
        """The charge of ``units`` on ``account`` at ``now`` (Unix seconds)."""
        rate = account.rate
        return cls(account.name, rate.amount, units, rate.current_slice(now), rate.window_s)

    @property
    def first_slice(self) -> int:
        """Number of the oldest slice that counts."""
        return self.current_slice - SLICES_PER_WINDOW

    @property
    def last_slice(self) -> int:
        """Slices after this one were counted by a clock that was wrong: they do not count."""
        return self.current_slice + SLICES_PER_WINDOW

    @property
    def kept_since(self) -> int:
        """Slices before this one may be removed. A window before the first that counts: a clock may be set back."""
        return self.first_slice - SLICES_PER_WINDOW

    @property
    def kept_s(self) -> int:
        """Seconds after which an account that nothing more is counted on may be removed."""
        return 3 * self.window_s


@dataclass(frozen=True, slots=True)
class Counted:
    """The rate limits after a request was counted, or was refused.

    Attributes:
        refused: The position of the first charge that did not fit: then none was counted. None: all were.
        units: For each charge, the account's units by slice: those that count, this request's included.
    """

    refused: int | None
    units: tuple[Mapping[int, int], ...]


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

    async def count(self, charges: Sequence[RateCharge]) -> Counted:
        """Counts a request on all of these rate limits, or on none. One step: nobody gets in between."""
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
        """Turns a key off until it is enabled; whether there is one of this name."""
        ...

    async def enable_key(self, name: str) -> bool:
        """Turns a key on again; whether there is one of this name."""
        ...

    async def update_key(self, key: VirtualKey) -> bool:
        """Keeps what a key may do now, for the key with this name and digest; whether there is one.

        Whether it is enabled stays as it is.
        """
        ...

    async def delete_key(self, name: str) -> bool:
        """Forgets a key, so that its name is free; whether there was one. What was spent on it is kept."""
        ...

    async def aclose(self) -> None:
        """Lets go of files and connections. What was settled is kept."""
        ...
