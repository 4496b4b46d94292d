"""The store that any number of replicas share: one Redis or Valkey server.

It should keep an append-only file: what the server forgets, the budgets forget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from service.governance import records
from service.governance.keys import VirtualKey, digest_text
from service.governance.store import Counted, NameTakenError, RateCharge, Refused, Reservation, Store
from service.storage.errors import StorageError
from service.storage.redis import RedisServer, answer

_PREFIX: Final = "image-variations"
_LONGEST_WAIT_S: Final = 1.0
# No request takes this long; a reservation older than this belongs to a process that died.
_ABANDONED_AFTER_S = 2 * 86_400

# KEYS: the reservation, then the accounts. ARGV: nanos, seconds until the reservation is abandoned, then for each
# account its limit, first slice, current slice, first slice to keep and seconds to keep it all. Returns nothing when
# it fits, else the position of the account without room, followed by slices and nanos in turn. Lua's numbers are exact
# up to 2^53 nanos, nine million dollars; above that a comparison may be off by a nano. What is added up are Redis's own
# integers.
_RESERVE = """
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
"""

# KEYS as above. ARGV: the nanos to add (or, negative, to give back), then each account's slice.
_SETTLE = """
if redis.call('DEL', KEYS[1]) == 1 then
    for position = 2, #KEYS do
        redis.call('HINCRBY', KEYS[position], ARGV[position], ARGV[1])
    end
end
"""

# KEYS: the accounts. ARGV: for each its limit, units, first slice, current slice, last slice, first slice to keep and
# seconds to keep it. Returns the position of the account that refuses, or -1, then for each account its slices and
# units in turn, as one list.
_COUNT = """
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
"""

# KEYS: names, digests. ARGV: name, digest, record.
_ADD_KEY = """
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then
    return 0
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1
"""


class RedisStore(Store):
    """Connects when it is first used, and again whenever it has to.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user, password and database number if need be.

    Raises:
        ValueError: It is not such a URL.
    """

    def __init__(self, url: str) -> None:
        self._server = RedisServer(url, longest_wait_s=_LONGEST_WAIT_S, decodes=True)
        register = self._server.client.register_script
        self._reserve = register(_RESERVE)
        self._settle = register(_SETTLE)
        self._count = register(_COUNT)
        self._add_key = register(_ADD_KEY)

    async def reserve(self, reservation: Reservation) -> Refused | None:
        arguments: list[int | str] = [reservation.nanos, _ABANDONED_AFTER_S]
        for charge in reservation.charges:
            # Kept for as long as a reservation, so that none is settled on an account that is gone. By the server's
            # clock: ours may be wrong.
            kept_s = math.ceil(charge.forgotten_at) - charge.kept_since + _ABANDONED_AFTER_S
            arguments += [charge.limit_nanos, charge.first_slice, charge.current_slice, charge.kept_since, kept_s]
        async with self._server.reached():
            answered = await self._reserve(keys=_keys_of(reservation), args=arguments)
        if not answered:
            return None
        position, *fields = answered
        return Refused(int(position), _by_slice(fields))

    async def settle(self, reservation: Reservation, nanos: int) -> None:
        slices = [charge.current_slice for charge in reservation.charges]
        async with self._server.reached():
            await self._settle(keys=_keys_of(reservation), args=[nanos - reservation.nanos, *slices])

    async def spent(self, account: str, first_slice: int) -> Mapping[int, int]:
        async with self._server.reached():
            fields: dict[str, str] = await answer(self._server.client.hgetall(_spending_key(account)))
        return {int(start): int(nanos) for start, nanos in fields.items() if int(start) >= first_slice}

    async def count(self, charges: Sequence[RateCharge]) -> Counted:
        arguments: list[int] = []
        for charge in charges:
            arguments += [charge.limit, charge.units, charge.first_slice, charge.current_slice, charge.last_slice]
            arguments += [charge.kept_since, charge.kept_s]
        async with self._server.reached():
            refused, answers = await self._count(keys=[_rate_key(charge) for charge in charges], args=arguments)
        units = [_by_slice(fields) for fields in answers]
        if refused < 0:
            for charge, used in zip(charges, units, strict=True):
                if charge.units:
                    used[charge.current_slice] = used.get(charge.current_slice, 0) + charge.units
        return Counted(None if refused < 0 else refused, tuple(units))

    async def add_key(self, key: VirtualKey) -> None:
        async with self._server.reached():
            added = await self._add_key(
                keys=[_NAMES, _KEYS], args=[key.name, digest_text(key.digest), records.dump(key)]
            )
        if not int(added):
            raise NameTakenError(key.name)

    async def find_key(self, digest: bytes) -> VirtualKey | None:
        field = digest_text(digest)
        async with self._server.reached():
            pipeline: Any = self._server.client.pipeline(transaction=True)
            record, disabled = await pipeline.hget(_KEYS, field).sismember(_DISABLED, field).execute()
        return None if record is None else _parsed(record, disabled=bool(disabled))

    async def keys(self) -> Sequence[VirtualKey]:
        async with self._server.reached():
            pipeline: Any = self._server.client.pipeline(transaction=True)
            found, disabled = await pipeline.hgetall(_KEYS).smembers(_DISABLED).execute()
        parsed = (_parsed(record, disabled=field in disabled) for field, record in found.items())
        return tuple(sorted(parsed, key=lambda key: key.name))

    async def has_keys(self) -> bool:
        async with self._server.reached():
            return bool(await answer(self._server.client.exists(_KEYS)))

    async def disable_key(self, name: str) -> bool:
        async with self._server.reached():
            field = await answer(self._server.client.hget(_NAMES, name))
            if field is None:
                return False
            await answer(self._server.client.sadd(_DISABLED, field))
            return True

    async def aclose(self) -> None:
        await self._server.aclose()


_NAMES = f"{_PREFIX}:key-names"
_KEYS = f"{_PREFIX}:keys"
_DISABLED = f"{_PREFIX}:keys-disabled"


def _spending_key(account: str) -> str:
    return f"{_PREFIX}:spending:{account}"


def _rate_key(charge: RateCharge) -> str:
    return f"{_PREFIX}:rates:{charge.account}"


def _by_slice(fields: Sequence[str]) -> dict[int, int]:
    """Slices and amounts that follow each other, as a table."""
    return dict(zip(map(int, fields[::2]), map(int, fields[1::2]), strict=True))


def _keys_of(reservation: Reservation) -> list[str]:
    return [
        f"{_PREFIX}:reservation:{reservation.id}",
        *(_spending_key(charge.account) for charge in reservation.charges),
    ]


def _parsed(record: str, *, disabled: bool) -> VirtualKey:
    try:
        return records.parse(record, enabled=not disabled)
    except ValueError as error:
        raise StorageError(f"a key's record cannot be read: {error}") from None
