"""The store that any number of replicas share: one Redis or Valkey server.

It should keep an append-only file: what the server forgets, the budgets forget.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from service.governance import records
from service.governance.keys import VirtualKey, digest_text
from service.governance.store import Charge, Counted, NameTakenError, RateCharge, Refused, Reservation, Store
from service.storage.errors import StorageError
from service.storage.redis import RedisServer, Script, answer

AnyCharge = TypeVar("AnyCharge", Charge, RateCharge)

_PREFIX: Final = "image-variations"
_LONGEST_WAIT_S: Final = 1.0
# No request takes this long; a reservation older than this belongs to a process that died.
_ABANDONED_AFTER_S = 2 * 86_400

# KEYS: the reservation, then the accounts. ARGV: nanos, seconds until the reservation is abandoned, then for each
# account its limit, first slice, current slice, first slice to keep and seconds to keep it all. Returns nothing when
# it fits, else the position of the account without room, followed by slices and nanos in turn. Lua's numbers are exact
# up to 2^53 nanos, nine million dollars; above that a comparison may be off by a nano. What is added up are Redis's own
# integers.
_RESERVE: Final = Script("""
if redis.call('EXISTS', KEYS[1]) == 1 then
    return {}
end
local wanted = tonumber(ARGV[1])
for position = 2, #KEYS do
    local at = 3 + (position - 2) * 5
    local total, answer = 0, {position - 2}
    local fields = redis.call('HGETALL', KEYS[position])
    for i = 1, #fields, 2 do
        if tonumber(fields[i]) < tonumber(ARGV[at + 3]) then
            redis.call('HDEL', KEYS[position], fields[i])
        elseif tonumber(fields[i]) >= tonumber(ARGV[at + 1]) then
            total = total + tonumber(fields[i + 1])
            answer[#answer + 1] = fields[i]
            answer[#answer + 1] = fields[i + 1]
        end
    end
    if wanted > 0 and total + wanted > tonumber(ARGV[at]) then
        return answer
    end
end
for position = 2, #KEYS do
    local at = 3 + (position - 2) * 5
    redis.call('HINCRBY', KEYS[position], ARGV[at + 2], ARGV[1])
    redis.call('EXPIRE', KEYS[position], ARGV[at + 4])
end
redis.call('SET', KEYS[1], 1, 'EX', ARGV[2])
return {}
""")

# KEYS as above. ARGV: the nanos to add (or, negative, to give back), then each account's slice.
_SETTLE: Final = Script("""
if redis.call('DEL', KEYS[1]) == 1 then
    for position = 2, #KEYS do
        redis.call('HINCRBY', KEYS[position], ARGV[position], ARGV[1])
    end
end
""")

# KEYS: the accounts. ARGV: for each its limit, units, first slice, current slice, last slice, first slice to keep and
# seconds to keep it. Returns the position of the account that refuses, or -1, then for each account its slices and
# units in turn, as one list.
_COUNT: Final = Script("""
local refused, answers = -1, {}
for position = 1, #KEYS do
    local at = (position - 1) * 7
    local used, answer = 0, {}
    local fields = redis.call('HGETALL', KEYS[position])
    for i = 1, #fields, 2 do
        local slice = tonumber(fields[i])
        if slice >= tonumber(ARGV[at + 3]) and slice <= tonumber(ARGV[at + 5]) then
            used = used + tonumber(fields[i + 1])
            answer[#answer + 1] = fields[i]
            answer[#answer + 1] = fields[i + 1]
        elseif slice < tonumber(ARGV[at + 6]) and ARGV[at + 2] ~= '0' then
            redis.call('HDEL', KEYS[position], fields[i])
        end
    end
    answers[position] = answer
    if refused < 0 and ARGV[at + 2] ~= '0' and used + tonumber(ARGV[at + 2]) > tonumber(ARGV[at + 1]) then
        refused = position - 1
    end
end
if refused < 0 then
    for position = 1, #KEYS do
        local at = (position - 1) * 7
        if ARGV[at + 2] ~= '0' then
            redis.call('HINCRBY', KEYS[position], ARGV[at + 4], ARGV[at + 2])
            redis.call('EXPIRE', KEYS[position], ARGV[at + 7])
        end
    end
end
return {refused, answers}
""")

# KEYS: names, digests. ARGV: name, digest, record.
_ADD_KEY: Final = Script("""
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then
    return 0
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1
""")


# KEYS: the accounts. ARGV: for each the slice and the units to take back.
_COUNT_BACK: Final = Script("""
for position = 1, #KEYS do
    redis.call('HINCRBY', KEYS[position], ARGV[2 * position - 1], -ARGV[2 * position])
end
""")

# KEYS: keys, disabled. ARGV: digest.
_FIND_KEY: Final = Script("""
return {redis.call('HGET', KEYS[1], ARGV[1]), redis.call('SISMEMBER', KEYS[2], ARGV[1])}
""")

# KEYS: keys, disabled.
_ALL_KEYS: Final = Script("""
return {redis.call('HGETALL', KEYS[1]), redis.call('SMEMBERS', KEYS[2])}
""")

# KEYS: names, disabled. ARGV: name, and the command for its digest: SADD disables the key, SREM enables it.
_SWITCH_KEY: Final = Script("""
local digest = redis.call('HGET', KEYS[1], ARGV[1])
if not digest then
    return 0
end
redis.call(ARGV[2], KEYS[2], digest)
return 1
""")

# KEYS: names, keys. ARGV: name, digest, record.
_UPDATE_KEY: Final = Script("""
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
    return 0
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1
""")

# KEYS: the names, the keys, the disabled ones. ARGV: the name.
_DELETE_KEY: Final = Script("""
local digest = redis.call('HGET', KEYS[1], ARGV[1])
if not digest then
    return 0
end
redis.call('HDEL', KEYS[2], digest)
redis.call('SREM', KEYS[3], digest)
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
""")


class RedisStore(Store):
    """Connects when it is first used, and again whenever it has to.

    On one server a request is put on all of its accounts in one step. In a cluster the accounts of a key and those of
    its team are on different servers: there the key's come first, and are taken back where the team's have no room, so
    that a limit may for a moment seem fuller than it is, and never emptier.

    Args:
        url: As for ``RedisServer``.
        longest_wait_s: Seconds that one question may take; beyond them the server counts as away.

    Raises:
        ValueError: It is not such a URL.
    """

    def __init__(self, url: str, *, longest_wait_s: float = _LONGEST_WAIT_S) -> None:
        self._server = RedisServer(url, longest_wait_s=longest_wait_s, decodes=True)
        self._names, self._keys, self._disabled = (
            self._key("virtual-keys", kind) for kind in ("key-names", "keys", "keys-disabled")
        )

    async def reserve(self, reservation: Reservation) -> Refused | None:
        before = 0
        for part in self._parts(reservation):
            arguments: list[int] = [part.nanos, _ABANDONED_AFTER_S]
            for charge in part.charges:
                # Kept for as long as a reservation, so that none is settled on an account that is gone. By the server's
                # clock: ours may be wrong.
                kept_s = math.ceil(charge.forgotten_at) - charge.kept_since + _ABANDONED_AFTER_S
                arguments += [charge.limit_nanos, charge.first_slice, charge.current_slice, charge.kept_since, kept_s]
            answered = await self._server.run(_RESERVE, self._keys_of(part), arguments)
            if answered:
                position, *fields = answered
                if before:
                    await self.settle(reservation, 0)
                return Refused(before + int(position), _by_slice(fields))
            before += len(part.charges)
        return None

    async def settle(self, reservation: Reservation, nanos: int) -> None:
        for part in self._parts(reservation):
            slices = [charge.current_slice for charge in part.charges]
            await self._server.run(_SETTLE, self._keys_of(part), [nanos - part.nanos, *slices])

    async def spent(self, account: str, first_slice: int) -> Mapping[int, int]:
        key = self._account_key("spending", account)
        async with self._server.reached(key) as client:
            fields: dict[str, str] = await answer(client.hgetall(key))
        return {int(start): int(nanos) for start, nanos in fields.items() if int(start) >= first_slice}

    async def count(self, charges: Sequence[RateCharge]) -> Counted:
        units: list[dict[int, int]] = []
        refused: int | None = None
        counted: list[list[RateCharge]] = []
        for group in self._grouped(charges):
            # After a refusal the others are only looked at.
            asked = group if refused is None else [replace(charge, units=0) for charge in group]
            position, found = await self._count_on_one_server(asked)
            if position is not None:
                refused = len(units) + position
            else:
                counted.append(asked)
            units += found
        if refused is not None:
            for group in counted:
                await self._count_back(group)
            return Counted(refused, tuple(units))
        for charge, used in zip(charges, units, strict=True):
            if charge.units:
                used[charge.current_slice] = used.get(charge.current_slice, 0) + charge.units
        return Counted(None, tuple(units))

    async def add_key(self, key: VirtualKey) -> None:
        record = [key.name, digest_text(key.digest), records.dump(key)]
        if not int(await self._server.run(_ADD_KEY, [self._names, self._keys], record)):
            raise NameTakenError(key.name)

    async def find_key(self, digest: bytes) -> VirtualKey | None:
        found = await self._server.run(_FIND_KEY, [self._keys, self._disabled], [digest_text(digest)])
        record, disabled = found
        return None if record is None else _parsed(record, disabled=bool(disabled))

    async def keys(self) -> Sequence[VirtualKey]:
        fields, disabled = await self._server.run(_ALL_KEYS, [self._keys, self._disabled], [])
        found = dict(zip(fields[::2], fields[1::2], strict=True))
        parsed = (_parsed(record, disabled=field in disabled) for field, record in found.items())
        return tuple(sorted(parsed, key=lambda key: key.name))

    async def has_keys(self) -> bool:
        async with self._server.reached(self._keys) as client:
            return bool(await answer(client.exists(self._keys)))

    async def disable_key(self, name: str) -> bool:
        return bool(await self._server.run(_SWITCH_KEY, [self._names, self._disabled], [name, "SADD"]))

    async def enable_key(self, name: str) -> bool:
        return bool(await self._server.run(_SWITCH_KEY, [self._names, self._disabled], [name, "SREM"]))

    async def update_key(self, key: VirtualKey) -> bool:
        record = [key.name, digest_text(key.digest), records.dump(key)]
        return bool(await self._server.run(_UPDATE_KEY, [self._names, self._keys], record))

    async def delete_key(self, name: str) -> bool:
        return bool(await self._server.run(_DELETE_KEY, [self._names, self._keys, self._disabled], [name]))

    async def aclose(self) -> None:
        await self._server.aclose()

    async def _count_on_one_server(self, charges: Sequence[RateCharge]) -> tuple[int | None, list[dict[int, int]]]:
        """The position of the charge that was refused, if one was, and each account's units before this request."""
        arguments: list[int] = []
        for charge in charges:
            arguments += [charge.limit, charge.units, charge.first_slice, charge.current_slice, charge.last_slice]
            arguments += [charge.kept_since, charge.kept_s]
        keys = [self._account_key("rates", charge.account) for charge in charges]
        refused, answers = await self._server.run(_COUNT, keys, arguments)
        return None if refused < 0 else int(refused), [_by_slice(fields) for fields in answers]

    async def _count_back(self, charges: Sequence[RateCharge]) -> None:
        keys = [self._account_key("rates", charge.account) for charge in charges]
        slices = [each for charge in charges for each in (charge.current_slice, charge.units)]
        await self._server.run(_COUNT_BACK, keys, slices)

    def _parts(self, reservation: Reservation) -> list[Reservation]:
        """The reservation as parts, each of which is on one server."""
        return [replace(reservation, charges=tuple(group)) for group in self._grouped(reservation.charges)]

    def _grouped(self, charges: Sequence[AnyCharge]) -> list[list[AnyCharge]]:
        """Charges by the server that they are on, in order."""
        if not charges:
            return []
        if not self._server.clustered:
            return [list(charges)]
        return [list(group) for _, group in itertools.groupby(charges, lambda charge: _owner(charge.account))]

    def _keys_of(self, reservation: Reservation) -> list[str]:
        accounts = [charge.account for charge in reservation.charges]
        return [
            self._key(_owner(accounts[0]), "reservation", reservation.id),
            *(self._account_key("spending", account) for account in accounts),
        ]

    def _account_key(self, kind: str, account: str) -> str:
        return self._key(_owner(account), kind, account)

    def _key(self, owner: str, *words: str) -> str:
        """A key of Redis's. In a cluster the part in braces decides the server, so one owner's keys are together."""
        return ":".join((_PREFIX, f"{{{owner}}}", *words) if self._server.clustered else (_PREFIX, *words))


def _owner(account: str) -> str:
    """The owner in an account's name, such as ``key:alice:1d:rolling``."""
    return account.rsplit(":", 2)[0]


def _by_slice(fields: Sequence[str]) -> dict[int, int]:
    """Slices and amounts that follow each other, as a table."""
    return dict(zip(map(int, fields[::2]), map(int, fields[1::2]), strict=True))


def _parsed(record: str, *, disabled: bool) -> VirtualKey:
    try:
        return records.parse(record, enabled=not disabled)
    except ValueError as error:
        raise StorageError(f"a key's record cannot be read: {error}") from None
