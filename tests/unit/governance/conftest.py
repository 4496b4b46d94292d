"""Every test that takes ``store`` runs on SQLite and on a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer, own_redis_server, redis_process, redis_server  # noqa: F401

from service.governance.redis_store import RedisStore
from service.governance.sqlite_store import SqliteStore
from service.governance.store import Store

OpenStore = Callable[[], Coroutine[Any, Any, Store]]


@pytest.fixture(params=["sqlite", "redis"])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens the same store once more, as another replica or the next process would."""
    opened: list[Store] = []
    server: RedisServer | None = request.getfixturevalue("redis_server") if request.param == "redis" else None

    async def open_one() -> Store:
        # Longer than in service: what is counted must not depend on how busy the machine is.
        store = (
            RedisStore(server.url, longest_wait_s=60)
            if server
            else await SqliteStore.open(tmp_path / "state" / "governance.sqlite3")
        )
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        await store.aclose()


@pytest.fixture
async def store(open_store: OpenStore) -> Store:
    return await open_store()
