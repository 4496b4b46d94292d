"""One way to reach Redis or Valkey: limited in time, and quick to give up while the server is away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.concurrency.tasks import Background
from service.storage.errors import StorageError

log = logging.getLogger("service.storage")

_MOST_CONNECTIONS: Final = 64
# A server in the same network answers within a few milliseconds.
_CONNECT_TIMEOUT_S: Final = 1.0
_PROBE_EVERY_S: Final = 0.25
_AWAY: Final = (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError)


class RedisServer:
    """Connects when it is first used, and again whenever it has to.

    Once the server has not been reached, or has not answered in time, every further use fails at once, while a task
    asks four times a second whether it is back. So one that hangs costs ``longest_wait_s`` once, and not every request.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user, password and database number if need be.
        longest_wait_s: The time after which a server counts as away.
        decodes: Whether answers are text; otherwise they are bytes.

    Attributes:
        client: For commands inside of ``reached``.

    Raises:
        ValueError: It is not such a URL.
    """

    def __init__(self, url: str, *, longest_wait_s: float, decodes: bool) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_MOST_CONNECTIONS,
            timeout=longest_wait_s,
            socket_connect_timeout=min(_CONNECT_TIMEOUT_S, longest_wait_s),
            socket_timeout=longest_wait_s,
            # Once, and at once: a connection from before the server's restart fails the first time it is used. So
            # every script has to bear being run twice.
            retry=Retry(NoBackoff(), 1),
            decode_responses=decodes,
        )
        self.client: Redis = Redis.from_pool(pool)
        self._longest_wait_s = longest_wait_s
        self._away = ""
        self._probing = Background("probe of a Redis server")

    @contextlib.asynccontextmanager
    async def reached(self) -> AsyncIterator[Redis]:
        """A block that uses the client.

        Raises:
            StorageError: The server is away, or was a moment ago; or it cannot do what the block asked of it.
        """
        if self._away:
            raise StorageError(f"Redis cannot be used: {self._away}")
        try:
            async with asyncio.timeout(self._longest_wait_s):
                yield self.client
        except _AWAY as error:
            self._note_away(error)
            raise _unusable(error) from error
        except RedisError as error:
            raise _unusable(error) from error

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._probing.aclose(0.0)
        with contextlib.suppress(*_AWAY, RedisError):
            async with asyncio.timeout(self._longest_wait_s):
                await self.client.aclose()
                await self.client.connection_pool.disconnect()

    def _note_away(self, error: Exception) -> None:
        if not self._away:
            self._away = type(error).__name__
            log.warning("Redis is away", extra={"fields": {"error": self._away}})
            self._probing.start(self._probe_until_back())

    async def _probe_until_back(self) -> None:
        while True:
            await asyncio.sleep(_PROBE_EVERY_S)
            try:
                async with asyncio.timeout(self._longest_wait_s):
                    await answer(self.client.ping())
            except (*_AWAY, RedisError):
                continue
            self._away = ""
            log.warning("Redis is back")
            return


async def answer(command: Any) -> Any:
    """The answer to a command. The client's annotations leave open whether it is awaited."""
    return await command


def _unusable(error: Exception) -> StorageError:
    # Not the message: it may hold the address with the password in it.
    return StorageError(f"Redis cannot be used: {type(error).__name__}")
