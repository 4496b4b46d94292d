"""Deleting from the cache over gRPC: one's own, with the answers that the REST surface is made of."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from fake_backends import BASE_URL, LIMITS
from imagevariations.v1 import cache_service_pb2, cache_service_pb2_grpc

from service.api.cache_servicer import CacheServicer
from service.api.calls import Calls, CallSettings
from service.api.unread import add_servicer
from service.cache.cache import ResultCache
from service.cache.cache_store import Bounds
from service.cache.sqlite_cache import SqliteCache
from service.concurrency.pools import ImagingPool
from service.gateway.cache_step.fingerprints import Fingerprints
from service.gateway.cache_step.step import Caching
from service.gateway.cache_step.terms import CacheSettings

UNKNOWN = "0" * 32


@contextlib.asynccontextmanager
async def serving(caching: Caching | None) -> AsyncIterator[Any]:
    server = grpc.aio.server()
    servicer = CacheServicer(caching, Calls(CallSettings(30.0, BASE_URL)))
    add_servicer(server, cache_service_pb2.DESCRIPTOR.services_by_name["CacheService"], servicer)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield cache_service_pb2_grpc.CacheServiceStub(channel)
    finally:
        await server.stop(None)


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[ResultCache]:
    cache = ResultCache(await SqliteCache.open(tmp_path / "cache.sqlite3", Bounds(10**8, 100)))
    yield cache
    await cache.aclose()


@pytest.fixture
def caching(cache: ResultCache) -> Caching:
    settings = CacheSettings(threshold=0.765, ttl_s=60.0, default_prompt="")
    return Caching(cache, Fingerprints(ImagingPool(1), LIMITS), settings)


async def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    code = caught.value.code()
    assert isinstance(code, grpc.StatusCode)
    return code


@pytest.mark.parametrize("entry", [UNKNOWN, "", "x", UNKNOWN.upper() + "A", "../entries"])
async def test_an_entry_that_is_not_there_is_not_found(caching: Caching, entry: str) -> None:
    async with serving(caching) as stub:
        deleting = stub.DeleteCacheEntry(cache_service_pb2.DeleteCacheEntryRequest(id=entry))
        assert await code_of(deleting) is grpc.StatusCode.NOT_FOUND


async def test_an_empty_namespace_is_deleted_already(caching: Caching) -> None:
    async with serving(caching) as stub:
        answer = await stub.DeleteCacheNamespace(cache_service_pb2.DeleteCacheNamespaceRequest(namespace="none"))
    assert (answer.namespace, answer.deleted_entries) == ("none", 0)


@pytest.mark.parametrize("namespace", ["", "a b", "a/b"])
async def test_what_cannot_be_a_namespace_is_refused(caching: Caching, namespace: str) -> None:
    async with serving(caching) as stub:
        deleting = stub.DeleteCacheNamespace(cache_service_pb2.DeleteCacheNamespaceRequest(namespace=namespace))
        assert await code_of(deleting) is grpc.StatusCode.INVALID_ARGUMENT


async def test_where_the_cache_is_off_there_is_nothing_to_delete() -> None:
    async with serving(None) as stub:
        deleting = stub.DeleteCacheEntry(cache_service_pb2.DeleteCacheEntryRequest(id=UNKNOWN))
        assert await code_of(deleting) is grpc.StatusCode.NOT_FOUND
        answer = await stub.DeleteCacheNamespace(cache_service_pb2.DeleteCacheNamespaceRequest(namespace="default"))
        assert answer.deleted_entries == 0


async def test_a_store_that_is_away_is_told_rather_than_taken_for_empty(caching: Caching, cache: ResultCache) -> None:
    await cache.aclose()
    async with serving(caching) as stub:
        for call in (
            stub.DeleteCacheEntry(cache_service_pb2.DeleteCacheEntryRequest(id=UNKNOWN)),
            stub.DeleteCacheNamespace(cache_service_pb2.DeleteCacheNamespaceRequest(namespace="default")),
        ):
            assert await code_of(call) is grpc.StatusCode.UNAVAILABLE
