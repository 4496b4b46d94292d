"""The store that any number of replicas share: one Redis or Valkey server.

It should keep an append-only file: what the server forgets, the budgets forget.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.governance import records
from service.governance.keys import VirtualKey, digest_text
from service.governance.rates import RateAccount
from service.governance.store import NameTakenError, Refused, Reservation, Store, Usage
from service.storage.errors import StorageError

_PREFIX = "image-variations"
_MOST_CONNECTIONS = 64
# A server in the same network answers within a few milliseconds; one that does not is as good as gone.
_CONNECT_TIMEOUT_S = 1.0
_LONGEST_WAIT_S = 2.0
# No request takes this long; a reservation older than this belongs to a process that died.
_ABANDONED_AFTER_S = 2 * 86_400

# KEYS: the reservation, then the accounts. ARGV: nanos, seconds until the reservation is abandoned, then for each
# account its limit, first slice, current slice and the time to forget it. Returns nothing when it fits, else the
# position of the account without room, followed by slices and nanos in turn. Lua's numbers are exact up to 2^53
# nanos, nine million dollars; above that a comparison may be off by a nano. What is added up are Redis's own integers.
_RESERVE = """
if redis.call('EXISTS', KEYS[1]) == 1 then
    return {}
end
local wanted = tonumber(ARGV[1])
for position = 2, #KEYS do
    local at = 3 + (position - 2) * 4
    local total, answer = 0, {position - 2}
    local fields = redis.call('HGETALL', KEYS[position])
    for i = 1, #fields, 2 do
        if tonumber(fields[i]) < tonumber(ARGV[at + 1]) then
            redis.call('HDEL', KEYS[position], fields[i])
        else
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
    local at = 3 + (position - 2) * 4
    redis.call('HINCRBY', KEYS[position], ARGV[at + 2], ARGV[1])
    redis.call('EXPIREAT', KEYS[position], ARGV[at + 3])
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
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_MOST_CONNECTIONS,
            timeout=_LONGEST_WAIT_S,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            socket_timeout=_LONGEST_WAIT_S,
            # Once, and at once: a connection from before the server's restart fails the first time it is used.
            # All scripts here may run twice; a rate limit that counts one request twice errs on the safe side.
            retry=Retry(NoBackoff(), 1),
            decode_responses=True,
        )
        self._redis: Redis = Redis.from_pool(pool)
        storage = RedisStorage(
            "redis://",
            implementation="redispy",
            key_prefix=f"{_PREFIX}:rate",
            connection_pool=pool,  # type: ignore[arg-type]  # it takes one; its annotation forgets to say so
        )
        self._limiter = MovingWindowRateLimiter(storage)
        self._rates = storage
        self._reserve = self._redis.register_script(_RESERVE)
        self._settle = self._redis.register_script(_SETTLE)
        self._add_key = self._redis.register_script(_ADD_KEY)

    async def reserve(self, reservation: Reservation) -> Refused | None:
        arguments: list[int | str] = [reservation.nanos, _ABANDONED_AFTER_S]
        for charge in reservation.charges:
            # Kept for as long as a reservation, so that none is settled on an account that is gone.
            forgotten_at = math.ceil(charge.forgotten_at) + _ABANDONED_AFTER_S
            arguments += [charge.limit_nanos, charge.first_slice, charge.current_slice, forgotten_at]
        async with _guarded():
            answer = await self._reserve(keys=_keys_of(reservation), args=arguments)
        if not answer:
            return None
        position, *fields = answer
        return Refused(int(position), dict(zip(map(int, fields[::2]), map(int, fields[1::2]), strict=True)))

    async def settle(self, reservation: Reservation, nanos: int) -> None:
        slices = [charge.current_slice for charge in reservation.charges]
        async with _guarded():
            await self._settle(keys=_keys_of(reservation), args=[nanos - reservation.nanos, *slices])

    async def spent(self, account: str, first_slice: int) -> Mapping[int, int]:
        async with _guarded():
            fields: dict[str, str] = await _answer(self._redis.hgetall(_spending_key(account)))
        return {int(start): int(nanos) for start, nanos in fields.items() if int(start) >= first_slice}

    async def hit(self, account: RateAccount, cost: int) -> bool:
        async with _guarded():
            return await self._limiter.hit(account.rate.item, account.owner, cost=cost)

    async def usage(self, account: RateAccount, depth: int) -> Usage:
        async with _guarded():
            since, count = await self._rates.get_moving_window(account.key(), depth, account.rate.window_s)
        return Usage(count, since)

    async def add_key(self, key: VirtualKey) -> None:
        async with _guarded():
            added = await self._add_key(
                keys=[_NAMES, _KEYS], args=[key.name, digest_text(key.digest), records.dump(key)]
            )
        if not int(added):
            raise NameTakenError(key.name)

    async def find_key(self, digest: bytes) -> VirtualKey | None:
        field = digest_text(digest)
        async with _guarded():
            pipeline: Any = self._redis.pipeline(transaction=True)
            record, disabled = await pipeline.hget(_KEYS, field).sismember(_DISABLED, field).execute()
        return None if record is None else _parsed(record, disabled=bool(disabled))

    async def keys(self) -> Sequence[VirtualKey]:
        async with _guarded():
            pipeline: Any = self._redis.pipeline(transaction=True)
            found, disabled = await pipeline.hgetall(_KEYS).smembers(_DISABLED).execute()
        parsed = (_parsed(record, disabled=field in disabled) for field, record in found.items())
        return tuple(sorted(parsed, key=lambda key: key.name))

    async def has_keys(self) -> bool:
        async with _guarded():
            return bool(await _answer(self._redis.exists(_KEYS)))

    async def disable_key(self, name: str) -> bool:
        async with _guarded():
            field = await _answer(self._redis.hget(_NAMES, name))
            if field is None:
                return False
            await _answer(self._redis.sadd(_DISABLED, field))
            return True

    async def aclose(self) -> None:
        with contextlib.suppress(StorageError):
            async with _guarded():
                await self._redis.aclose()


_NAMES = f"{_PREFIX}:key-names"
_KEYS = f"{_PREFIX}:keys"
_DISABLED = f"{_PREFIX}:keys-disabled"


def _spending_key(account: str) -> str:
    return f"{_PREFIX}:spending:{account}"


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


async def _answer(command: Any) -> Any:
    """What a command returns. The client's annotations leave open whether it is awaited."""
    return await command


@contextlib.asynccontextmanager
async def _guarded() -> AsyncIterator[None]:
    """Turns every way in which a server can be away into a StorageError, soon."""
    try:
        async with asyncio.timeout(_LONGEST_WAIT_S):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        # Not the message: it may hold the address with the password in it.
        raise StorageError(f"Redis cannot be used: {type(error).__name__}") from error
