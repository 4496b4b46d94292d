"""Removing entries of the result cache: a caller's own, and nobody else's."""

from __future__ import annotations

import re

from imagevariations.v1 import cache_service_pb2 as pb

from service.api.cache_headers import checked_namespace
from service.api.call import Call
from service.api.calls import Calls, Context
from service.api.unread import Unread
from service.core.errors import ErrorKind, GatewayError
from service.gateway.cache_step.step import Caching
from service.storage.errors import StorageError

_ID = re.compile(r"[0-9a-f]{32}")


class CacheServicer:
    """``caching`` is None where the cache is off: then there is nothing to delete."""

    def __init__(self, caching: Caching | None, calls: Calls) -> None:
        self._caching = caching
        self._calls = calls

    async def DeleteCacheEntry(  # noqa: N802
        self, request: Unread[pb.DeleteCacheEntryRequest], context: Context
    ) -> pb.DeleteCacheEntryResponse:
        async def handle(call: Call) -> pb.DeleteCacheEntryResponse:
            entry_id = request.read().id
            if not _ID.fullmatch(entry_id) or not await self._delete_entry(entry_id, call):
                raise GatewayError(
                    ErrorKind.NOT_FOUND, "There is no such cache entry.", code="cache_entry_not_found", param="id"
                )
            return pb.DeleteCacheEntryResponse(id=entry_id, deleted=True)

        return await self._calls.unary("DeleteCacheEntry", context, handle)

    async def DeleteCacheNamespace(  # noqa: N802
        self, request: Unread[pb.DeleteCacheNamespaceRequest], context: Context
    ) -> pb.DeleteCacheNamespaceResponse:
        async def handle(call: Call) -> pb.DeleteCacheNamespaceResponse:
            namespace = checked_namespace(request.read().namespace, "namespace")
            deleted = await self._delete_namespace(namespace, call)
            return pb.DeleteCacheNamespaceResponse(namespace=namespace, deleted_entries=deleted)

        return await self._calls.unary("DeleteCacheNamespace", context, handle)

    async def _delete_entry(self, entry_id: str, call: Call) -> bool:
        if self._caching is None:
            return False
        try:
            return await self._caching.delete(entry_id, call.caller)
        except StorageError:
            raise _away() from None

    async def _delete_namespace(self, namespace: str, call: Call) -> int:
        if self._caching is None:
            return 0
        try:
            return await self._caching.delete_namespace(namespace, call.caller)
        except StorageError:
            raise _away() from None


def _away() -> GatewayError:
    return GatewayError(
        ErrorKind.UNAVAILABLE,
        "The cache cannot be reached just now.",
        code="state_unavailable",
        retry_after_s=1.0,
        may_have_run=False,
    )
