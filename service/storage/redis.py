"""One way to reach Redis or Valkey: limited in time, and quick to give up while the server is away."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ClusterError, NoScriptError, RedisClusterException, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.concurrency.tasks import Background
from service.storage.errors import StorageError

log = logging.getLogger("service.storage")

CLUSTER_SCHEMES: Final = ("redis+cluster", "rediss+cluster")
SENTINEL_SCHEMES: Final = ("redis+sentinel", "rediss+sentinel")
SCHEMES: Final = ("redis", "rediss", "unix", *CLUSTER_SCHEMES, *SENTINEL_SCHEMES)

_MOST_CONNECTIONS: Final = 64
# A server in the same network answers within a few milliseconds.
_CONNECT_TIMEOUT_S: Final = 1.0
_PROBE_EVERY_S: Final = 0.25
_AWAY: Final = (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError)
_FAILURES: Final = (*_AWAY, RedisError, RedisClusterException)


class Script:
    """Lua that a server runs as one step. It has to bear being run twice: a connection may break before the answer."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - the name that Redis gives it


class RedisServer:
    """Connects when it is first used, and again whenever it has to.

    Once the server has not been reached, or has not answered in time, every further use fails at once, while a task
    asks four times a second whether it is back. So one that hangs costs ``longest_wait_s`` once, and not every request.
    Of a cluster each server is such a one.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user, password and database number if need be;
            ``redis+cluster://host:port,host:port`` for a cluster, of which any servers are named; or
            ``redis+sentinel://host:port,host:port/name/0`` for the server that sentinels call by that name.
        longest_wait_s: The time after which a server counts as away.
        decodes: Whether answers are text; otherwise they are bytes.

    Attributes:
        clustered: Whether all keys of one script must have the same part in braces.

    Raises:
        ValueError: It is not such a URL.
    """

    def __init__(self, url: str, *, longest_wait_s: float, decodes: bool) -> None:
        self._longest_wait_s = longest_wait_s
        self._client = _client(url, longest_wait_s, decodes=decodes)
        self.clustered = isinstance(self._client, RedisCluster)
        # A cluster's connections are not waited for, they are an error beyond their number.
        self._places = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._away: dict[str, str] = {}
        self._probing = Background("probe of a Redis server")

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
        """Runs a script on the server that has the keys; StorageError as for ``reached``."""
        async with self.reached(keys[0]) as client:
            try:
                return await answer(client.evalsha(script.digest, len(keys), *keys, *arguments))
            except NoScriptError:
                return await answer(client.eval(script.text, len(keys), *keys, *arguments))

    @contextlib.asynccontextmanager
    async def reached(self, key: str) -> AsyncIterator[Any]:
        """A block that uses the client, on the server that has this key.

        Raises:
            StorageError: The server is away, or was a moment ago; or it cannot do what the block asked of it.
        """
        node = self._node_of(key)
        if node in self._away:
            raise StorageError(f"Redis cannot be used: {self._away[node]}")
        try:
            async with asyncio.timeout(self._longest_wait_s), self._places:
                yield self._client
        except _AWAY as error:
            self._note_away(node, error)
            raise _unusable(error) from error
        except (RedisError, RedisClusterException) as error:
            raise _unusable(error) from error

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._probing.aclose(0.0)
        with contextlib.suppress(*_FAILURES):
            async with asyncio.timeout(self._longest_wait_s):
                if isinstance(self._client, RedisCluster):
                    await self._client.aclose()
                    # The call above does nothing while the client is about to look for the servers anew.
                    await self._client.nodes_manager.aclose()
                    await self._client.nodes_manager.aclose("startup_nodes")
                    return
                pool = self._client.connection_pool
                await answer(self._client.aclose())
                await pool.disconnect()
                if isinstance(pool, SentinelConnectionPool):
                    for sentinel in pool.sentinel_manager.sentinels:
                        await sentinel.aclose()

    def _node_of(self, key: str) -> str:
        """The name of the server in a cluster that has this key; empty where there is one server, or it is unknown."""
        if isinstance(self._client, RedisCluster):
            with contextlib.suppress(RedisClusterException, ClusterError, AttributeError, KeyError):
                return str(self._client.get_node_from_key(key).name)  # type: ignore[union-attr]  # None: AttributeError
        return ""

    def _note_away(self, node: str, error: Exception) -> None:
        if node not in self._away:
            self._away[node] = type(error).__name__
            log.warning("Redis is away", extra={"fields": {"error": self._away[node]}})
            self._probing.start(self._probe_until_back(node))

    async def _probe_until_back(self, node: str) -> None:
        back = False
        while not back:
            await asyncio.sleep(_PROBE_EVERY_S)
            with contextlib.suppress(*_FAILURES):
                async with asyncio.timeout(self._longest_wait_s):
                    back = await self._is_back(node)
        del self._away[node]
        log.warning("Redis is back")

    async def _is_back(self, node: str) -> bool:
        if not isinstance(self._client, RedisCluster):
            return bool(await answer(self._client.ping()))
        known = {each.name: each for each in self._client.get_nodes()}
        if node in known and known[node].server_type == "primary":
            return bool(await self._client.execute_command("PING", target_nodes=[known[node]]))
        # Another one has taken its place, or the cluster is not known yet: then any of its servers will do.
        return bool(await self._client.execute_command("PING", target_nodes=RedisCluster.RANDOM))


def _client(url: str, longest_wait_s: float, *, decodes: bool) -> Redis | RedisCluster:
    parts = urlsplit(url)
    options: dict[str, Any] = {
        "socket_connect_timeout": min(_CONNECT_TIMEOUT_S, longest_wait_s),
        "socket_timeout": longest_wait_s,
        "decode_responses": decodes,
        # Once, and at once: a connection from before the server's restart fails the first time it is used.
        "retry": Retry(NoBackoff(), 1),
    }
    if parts.scheme in CLUSTER_SCHEMES:
        credentials, nodes = _cluster(parts.scheme, parts.netloc)
        # Each time after the servers have been asked once more which of them has the key.
        options["retry"] = Retry(NoBackoff(), 3)
        return RedisCluster(startup_nodes=nodes, max_connections=2 * _MOST_CONNECTIONS, **credentials, **options)
    waiting = {"max_connections": _MOST_CONNECTIONS, "timeout": longest_wait_s}
    if parts.scheme in SENTINEL_SCHEMES:
        name, _, database = parts.path.strip("/").partition("/")
        if not name:
            raise ValueError("the URL of sentinels ends with the name of their server, such as /mymaster")
        plain = parts.scheme.removesuffix("+sentinel")
        credentials, nodes = _cluster(parts.scheme, parts.netloc)
        tls = {"ssl": True} if plain == "rediss" else {}
        sentinel = Sentinel(  # type: ignore[no-untyped-call]  # its constructor has no annotations
            [(node.host, int(node.port)) for node in nodes], sentinel_kwargs={**options, **tls}, **options
        )
        chosen = {"db": int(database or 0), **credentials}
        server: Redis = sentinel.master_for(name, connection_pool_class=SentinelConnectionPool, **chosen)
        return server
    pool = BlockingConnectionPool.from_url(url, **waiting, **options)
    return Redis.from_pool(pool)


def _cluster(scheme: str, netloc: str) -> tuple[dict[str, Any], list[ClusterNode]]:
    """Credentials, and the servers named in a URL with several of them."""
    user, _, hosts = netloc.rpartition("@")
    plain = scheme.partition("+")[0]
    nodes, credentials = [], {}
    for host in hosts.split(","):
        parsed: dict[str, Any] = dict(parse_url(urlunsplit((plain, f"{user}@{host}" if user else host, "", "", ""))))
        if "host" not in parsed:
            raise ValueError("every server has to be named as host:port")
        nodes.append(ClusterNode(parsed.pop("host"), parsed.pop("port", 6379)))
        credentials = parsed
    if credentials.pop("connection_class", None) is not None:
        credentials["ssl"] = True
    return credentials, nodes


async def answer(command: Any) -> Any:
    """The answer to a command. The client's annotations leave open whether it is awaited."""
    return await command


def _unusable(error: Exception) -> StorageError:
    # Not the message: it may hold the address with the password in it.
    return StorageError(f"Redis cannot be used: {type(error).__name__}")
