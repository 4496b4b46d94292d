"""Claims of idempotent requests in Redis or Valkey, for any number of replicas."""

from __future__ import annotations

from typing import Any, Final

from service.governance.idempotency import Claimed, ClaimStore, Once
from service.storage.redis import RedisServer, Script

# The number is that of the layout of what is kept.
_PREFIX: Final = "image-variations:once:1:"
_LONGEST_WAIT_S: Final = 2.0

# KEYS: the claim. ARGV: digest, owner, now, alive until, when to forget it, 1 where it surely begins. A script of ours
# may be run twice: then the owner is the same. Returns nothing where it was claimed, else digest, alive until, answer.
_CLAIM: Final = Script("""
local found = redis.call('HMGET', KEYS[1], 'owner', 'digest', 'alive', 'answer')
if found[1] and found[1] ~= ARGV[2] and not (ARGV[6] == '1' and found[3] == '0') then
    return {found[2], found[3], found[4] or ''}
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'digest', ARGV[1], 'alive', ARGV[4])
redis.call('EXPIREAT', KEYS[1], ARGV[5])
return {}
""")
# ARGV: owner, alive until.
_RENEW: Final = Script("""
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] and redis.call('HGET', KEYS[1], 'alive') ~= '0' then
    redis.call('HSET', KEYS[1], 'alive', ARGV[2])
end
""")
# ARGV: owner, answer, when to forget it.
_FINISH: Final = Script("""
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then
    redis.call('HSET', KEYS[1], 'alive', '0', 'answer', ARGV[2])
    redis.call('EXPIREAT', KEYS[1], ARGV[3])
end
""")
_FORGET: Final = Script("""
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] and redis.call('HGET', KEYS[1], 'alive') ~= '0' then
    redis.call('DEL', KEYS[1])
end
""")


class RedisClaims(ClaimStore):
    """Connects when it is first used. Answers are in the server's memory until they expire.

    Args:
        url: As for ``RedisServer``.

    Raises:
        ValueError: It is not such a URL.
    """

    def __init__(self, url: str) -> None:
        self._server = RedisServer(url, longest_wait_s=_LONGEST_WAIT_S, decodes=False)

    async def claim(self, once: Once, owner: str, now: float, alive_until: float) -> Claimed | None:
        found = await self._run(
            _CLAIM,
            once,
            once.digest,
            owner,
            repr(now),
            repr(alive_until),
            round(now + once.kept_s),
            int(once.begins),
        )
        if not found:
            return None
        digest, alive, kept = found
        finished = alive == b"0"
        return Claimed(digest.decode(), float(alive) > now, kept if finished else None)

    async def renew(self, once: Once, owner: str, alive_until: float) -> None:
        await self._run(_RENEW, once, owner, repr(alive_until))

    async def finish(self, once: Once, owner: str, answer: bytes, kept_until: float) -> None:
        await self._run(_FINISH, once, owner, answer, round(kept_until))

    async def forget(self, once: Once, owner: str) -> None:
        await self._run(_FORGET, once, owner)

    async def aclose(self) -> None:
        await self._server.aclose()

    async def _run(self, script: Script, once: Once, *arguments: str | bytes | int) -> Any:
        return await self._server.run(script, [_PREFIX + once.name], arguments)
