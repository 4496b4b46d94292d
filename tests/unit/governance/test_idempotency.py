"""Claims of idempotent requests, on SQLite and on a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer

from service.core.errors import ErrorKind, GatewayError
from service.governance.idempotency import Claim, ClaimStore, Idempotency, Once, once_by_key, once_by_sidecar
from service.governance.redis_claims import RedisClaims
from service.governance.sqlite_claims import SqliteClaims
from service.storage.errors import StorageError

OpenClaims = Callable[[], Coroutine[Any, Any, ClaimStore]]
ANSWER = b"\x00an answer" * 200_000


@pytest.fixture(params=["sqlite", "redis"])
async def open_claims(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenClaims]:
    """Opens the same claims once more, as another replica or the next process would."""
    opened: list[ClaimStore] = []
    server: RedisServer | None = request.getfixturevalue("redis_server") if request.param == "redis" else None

    async def open_one() -> ClaimStore:
        store = RedisClaims(server.url) if server else await SqliteClaims.open(tmp_path / "idempotency.db")
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        await store.aclose()


def asked(key: str = "k1", digest: str = "d1", credential: str = "sk-1") -> Once:
    return once_by_key(key, credential, digest)


async def claimed(idempotency: Idempotency, once: Once) -> Claim:
    claim = await idempotency.found_or_claimed(once)
    assert isinstance(claim, Claim)
    return claim


async def refusal(idempotency: Idempotency, once: Once) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await idempotency.found_or_claimed(once)
    return caught.value


async def test_the_answer_is_found_by_another_process(open_claims: OpenClaims) -> None:
    await (await claimed(Idempotency(await open_claims()), asked())).finish(ANSWER)
    assert await Idempotency(await open_claims()).found_or_claimed(asked()) == ANSWER


async def test_a_second_request_waits_for_the_first(open_claims: OpenClaims) -> None:
    first = await claimed(Idempotency(await open_claims()), asked())
    second = Idempotency(await open_claims())
    async with asyncio.TaskGroup() as group:
        found = group.create_task(second.found_or_claimed(asked()))
        await asyncio.sleep(0.1)
        assert not found.done()
        await first.finish(ANSWER)
    assert found.result() == ANSWER


async def test_a_key_stands_for_one_request_of_one_credential(open_claims: OpenClaims) -> None:
    idempotency = Idempotency(await open_claims())
    await (await claimed(idempotency, asked())).finish(ANSWER)
    error = await refusal(idempotency, asked(digest="d2"))
    assert (error.kind, error.may_be_billed) == (ErrorKind.KEY_REUSED, False)
    await claimed(idempotency, asked(credential="sk-2"))
    await claimed(idempotency, asked(key="k2"))


async def test_what_was_given_up_may_be_done_again(open_claims: OpenClaims) -> None:
    idempotency = Idempotency(await open_claims())
    await (await claimed(idempotency, asked())).forget()
    await claimed(idempotency, asked())


async def test_what_a_dead_process_had_begun_is_not_done_again(open_claims: OpenClaims) -> None:
    await claimed(Idempotency(await open_claims()), asked())
    later = Idempotency(await open_claims(), now=lambda: time.time() + 60)
    error = await refusal(later, asked())
    assert (error.code, error.may_be_billed) == ("idempotency_outcome_unknown", True)


async def test_work_that_goes_on_is_not_taken_for_dead(
    open_claims: OpenClaims, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.governance.idempotency._RENEWED_EVERY_S", 0.05)
    monkeypatch.setattr("service.governance.idempotency._LEASE_S", 0.3)
    idempotency = Idempotency(await open_claims())
    claim = await claimed(idempotency, asked())
    async with asyncio.TaskGroup() as group, claim.kept():
        found = group.create_task(idempotency.found_or_claimed(asked()))
        await asyncio.sleep(0.8)
        await claim.finish(ANSWER)
    assert found.result() == ANSWER


async def test_after_a_day_a_key_is_new(tmp_path: Path) -> None:
    store = await SqliteClaims.open(tmp_path / "claims.db")
    await (await claimed(Idempotency(store), asked())).finish(ANSWER)
    day_later = Idempotency(store, now=lambda: time.time() + 86_500)
    await claimed(day_later, asked(digest="d2"))
    await store.aclose()


async def test_the_oldest_answers_make_room_and_are_not_made_again(tmp_path: Path) -> None:
    store = await SqliteClaims.open(tmp_path / "claims.db", most_bytes=2 * len(ANSWER))
    idempotency = Idempotency(store)
    for number in range(3):
        await (await claimed(idempotency, asked(f"k{number}"))).finish(ANSWER)
    assert (await refusal(idempotency, asked("k0"))).code == "idempotency_outcome_unknown"
    assert await idempotency.found_or_claimed(asked("k2")) == ANSWER
    await store.aclose()


async def test_a_sidecars_second_attempt_finds_the_first(open_claims: OpenClaims) -> None:
    idempotency = Idempotency(await open_claims())
    first = once_by_sidecar("id-1", 1, "sk-1", "d1")
    await (await claimed(idempotency, first)).finish(ANSWER)
    assert await idempotency.found_or_claimed(once_by_sidecar("id-1", 2, "sk-1", "d1")) == ANSWER
    # A first attempt is a request of its own, whatever had that id before; so is one with another body.
    await claimed(idempotency, first)
    await claimed(idempotency, once_by_sidecar("id-1", 2, "sk-1", "d2"))


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "tab\t", "grün"])
def test_a_key_that_can_be_none_is_refused(key: str) -> None:
    with pytest.raises(GatewayError) as caught:
        asked(key)
    assert (caught.value.code, caught.value.param) == ("invalid_header", "idempotency-key")


class _Away(SqliteClaims):
    def __init__(self) -> None:
        pass

    async def claim(self, once: Once, owner: str, now: float, alive_until: float) -> None:
        raise StorageError("away")


async def test_without_the_store_only_those_who_asked_for_it_are_refused() -> None:
    idempotency = Idempotency(_Away())
    error = await refusal(idempotency, asked())
    assert (error.code, error.may_be_billed) == ("state_unavailable", False)
    await claimed(idempotency, once_by_sidecar("id-1", 2, "sk-1", "d1"))
