"""When a gateway refuses to start, and what it is started with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from service.composition.governance import opened_governance
from service.config import Config, load
from service.governance.callers import ANYBODY
from service.governance.keys import VirtualKey, digest
from service.governance.sqlite_store import SqliteStore

OPEN_TO_ALL = "listen: {http: '0.0.0.0:8080'}\n"
SECRET = "s" * 32


@pytest.fixture
def configured(tmp_path: Path) -> Callable[[str], Config]:
    def configure(text: str) -> Config:
        file = tmp_path / "gateway.yaml"
        file.write_text(f"state_directory: {tmp_path}\n{text}")
        return load(file, {})

    return configure


async def test_on_loopback_anybody_is_let_in(configured: Callable[[str], Config]) -> None:
    async with opened_governance(configured("")) as governance:
        assert await governance.gate.identify("") is ANYBODY


async def test_a_gateway_that_others_reach_does_not_stand_open(configured: Callable[[str], Config]) -> None:
    with pytest.raises(SystemExit) as caught:
        async with opened_governance(configured(OPEN_TO_ALL)):
            pass
    for advice in ("0.0.0.0:8080", "keys create", "127.0.0.1", "allow_unauthenticated: true"):
        assert advice in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [f"tokens: [{{name: a, value: {SECRET}}}]", f"keys: [{{name: a, value: sk-bf-{SECRET}}}]", "require_auth: true"],
)
async def test_with_a_credential_it_starts_and_asks_for_it(configured: Callable[[str], Config], text: str) -> None:
    async with opened_governance(configured(OPEN_TO_ALL + text)) as governance:
        with pytest.raises(Exception, match="credential is required"):
            await governance.gate.identify("")


async def test_a_key_in_the_store_is_a_credential(configured: Callable[[str], Config], tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "governance.sqlite3")
    await store.add_key(VirtualKey("alice", digest("sk-bf-alice")))
    await store.aclose()
    async with opened_governance(configured(OPEN_TO_ALL)) as governance:
        assert (await governance.gate.identify("sk-bf-alice")).name == "alice"


async def test_who_means_it_may_leave_the_door_open(configured: Callable[[str], Config]) -> None:
    async with opened_governance(configured(OPEN_TO_ALL + "allow_unauthenticated: true")) as governance:
        assert await governance.gate.identify("") is ANYBODY


async def test_a_server_that_is_away_does_not_keep_a_gateway_from_starting(configured: Callable[[str], Config]) -> None:
    async with opened_governance(configured(OPEN_TO_ALL + "state: redis://127.0.0.1:1/0")) as governance:
        with pytest.raises(Exception, match="credential is required"):
            await governance.gate.identify("")


async def test_a_file_that_is_no_database_is_told(configured: Callable[[str], Config], tmp_path: Path) -> None:
    (tmp_path / "governance.sqlite3").write_bytes(b"not a database, and long enough to be looked at" * 100)
    with pytest.raises(SystemExit, match=r"state cannot be used: .*governance\.sqlite3"):
        async with opened_governance(configured("")):
            pass


async def test_only_the_owner_reads_the_file(configured: Callable[[str], Config], tmp_path: Path) -> None:
    async with opened_governance(configured("")):
        assert (tmp_path / "governance.sqlite3").stat().st_mode & 0o077 == 0
