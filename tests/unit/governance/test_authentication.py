"""The credential table of the contract."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.core.errors import ErrorKind, GatewayError
from service.governance.authentication import REMEMBERED_S, AccessSettings, Authenticator
from service.governance.callers import ANYBODY, Caller, CallerKind
from service.governance.keys import Team, Token, VirtualKey, digest
from service.governance.store import Store
from service.storage.errors import StorageError

_NOW = datetime(2026, 11, 22, tzinfo=UTC)
_ALICE = VirtualKey("alice", digest("sk-bf-alice"))
_TOKEN = Token("ci", digest("token-of-ci"))


class _Clock:
    def __init__(self) -> None:
        self.now = _NOW.timestamp()

    def __call__(self) -> float:
        return self.now


class _Broken:
    """Stands in front of a store; raises while it is away."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.away = False
        self.questions = 0

    async def find_key(self, hashed: bytes) -> VirtualKey | None:
        self._ask()
        return await self._store.find_key(hashed)

    async def has_keys(self) -> bool:
        self._ask()
        return await self._store.has_keys()

    def _ask(self) -> None:
        self.questions += 1
        if self.away:
            raise StorageError("away")


def _authenticator(store: object, clock: _Clock | None = None, **settings: Any) -> Authenticator:
    return Authenticator(AccessSettings(**settings), store, clock or _Clock())  # type: ignore[arg-type]


async def _refusal(authenticator: Authenticator, credential: str) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await authenticator.identify(credential)
    assert credential not in caught.value.message or not credential
    return caught.value


async def test_with_nothing_configured_anybody_is_let_in(store: Store) -> None:
    authenticator = _authenticator(store)
    assert await authenticator.identify("") is ANYBODY
    assert await authenticator.identify("whatever an SDK insists on") is ANYBODY


@pytest.mark.parametrize("settings", [{"keys": (_ALICE,)}, {"tokens": (_TOKEN,)}, {"required": True}])
async def test_as_soon_as_there_is_a_credential_one_is_required(store: Store, settings: dict[str, Any]) -> None:
    authenticator = _authenticator(store, **settings)
    for credential in ("", "sk-bf-wrong", "wrong"):
        assert (await _refusal(authenticator, credential)).kind is ErrorKind.UNAUTHENTICATED


async def test_a_first_key_in_the_store_closes_the_door(store: Store) -> None:
    clock = _Clock()
    authenticator = _authenticator(store, clock)
    assert await authenticator.identify("") is ANYBODY
    await store.add_key(_ALICE)
    clock.now += REMEMBERED_S
    assert (await _refusal(authenticator, "")).kind is ErrorKind.UNAUTHENTICATED


async def test_not_required_means_that_a_wrong_credential_is_none(store: Store) -> None:
    authenticator = _authenticator(store, keys=(_ALICE,), required=False)
    assert await authenticator.identify("sk-bf-wrong") is ANYBODY
    assert (await authenticator.identify("sk-bf-alice")).name == "alice"


async def test_keys_of_the_configuration_and_of_the_store_are_known(store: Store) -> None:
    await store.add_key(VirtualKey("bob", digest("sk-bf-bob"), team="pictures"))
    team = Team("pictures")
    authenticator = _authenticator(store, keys=(_ALICE,), teams={"pictures": team})
    assert await authenticator.identify("sk-bf-alice") == Caller(CallerKind.VIRTUAL_KEY, "alice", _ALICE)
    bob = await authenticator.identify("sk-bf-bob")
    assert (bob.kind, bob.name, bob.team) == (CallerKind.VIRTUAL_KEY, "bob", team)


async def test_a_token_lets_its_bearer_in(store: Store) -> None:
    caller = await _authenticator(store, tokens=(_TOKEN,)).identify("token-of-ci")
    assert caller == Caller(CallerKind.TOKEN, "ci")


async def test_a_disabled_key_is_forbidden_not_unknown(store: Store) -> None:
    authenticator = _authenticator(store, keys=(dataclasses.replace(_ALICE, enabled=False),))
    error = await _refusal(authenticator, "sk-bf-alice")
    assert (error.kind, error.code) == (ErrorKind.PERMISSION_DENIED, "key_disabled")


async def test_a_key_expires_at_its_instant(store: Store) -> None:
    clock = _Clock()
    expiring = dataclasses.replace(_ALICE, expires_at=_NOW + timedelta(seconds=10))
    authenticator = _authenticator(store, clock, keys=(expiring,))
    clock.now += 9.9
    assert (await authenticator.identify("sk-bf-alice")).name == "alice"
    clock.now += 0.1
    error = await _refusal(authenticator, "sk-bf-alice")
    assert (error.kind, error.code) == (ErrorKind.PERMISSION_DENIED, "key_expired")
    assert "2026-11-22T00:00:10Z" in error.message


async def test_a_key_of_a_team_that_is_gone_is_not_free_of_its_limits(store: Store) -> None:
    await store.add_key(dataclasses.replace(_ALICE, team="gone"))
    error = await _refusal(_authenticator(store), "sk-bf-alice")
    assert (error.kind, error.code) == (ErrorKind.PERMISSION_DENIED, "team_unknown")


async def test_direct_keys_are_taken_only_where_allowed_and_never_ours(store: Store) -> None:
    authenticator = _authenticator(store, keys=(_ALICE,), allow_direct_keys=True)
    caller = await authenticator.identify("sk-proj-of-a-vendor")
    assert (caller.kind, caller.direct_key, caller.confined) == (CallerKind.DIRECT, "sk-proj-of-a-vendor", True)
    assert "sk-proj" not in repr(caller)
    assert (await authenticator.identify("sk-bf-alice")).direct_key == ""
    # A mistyped virtual key must not end up at a provider.
    assert (await _refusal(authenticator, "sk-bf-alise")).kind is ErrorKind.UNAUTHENTICATED
    refusing = _authenticator(store, keys=(_ALICE,))
    assert (await _refusal(refusing, "sk-proj-of-a-vendor")).kind is ErrorKind.UNAUTHENTICATED


async def test_a_direct_key_at_an_open_gateway_confines_nobody(store: Store) -> None:
    caller = await _authenticator(store, allow_direct_keys=True).identify("sk-proj-of-a-vendor")
    assert not caller.confined


async def test_disabling_takes_effect_within_the_time_that_keys_are_remembered(store: Store) -> None:
    clock = _Clock()
    await store.add_key(_ALICE)
    authenticator = _authenticator(store, clock)
    assert (await authenticator.identify("sk-bf-alice")).name == "alice"
    await store.disable_key("alice")
    clock.now += REMEMBERED_S
    assert (await _refusal(authenticator, "sk-bf-alice")).code == "key_disabled"


async def test_a_store_that_is_away_lets_nobody_new_in_and_keeps_those_it_knew(store: Store) -> None:
    clock, broken = _Clock(), _Broken(store)
    await store.add_key(_ALICE)
    authenticator = _authenticator(broken, clock)
    await authenticator.identify("sk-bf-alice")
    broken.away = True
    clock.now += 10 * REMEMBERED_S
    assert (await authenticator.identify("sk-bf-alice")).name == "alice"
    for unknown in ("sk-bf-other", ""):
        error = await _refusal(authenticator, unknown)
        assert (error.kind, error.code) == (ErrorKind.UNAVAILABLE, "state_unavailable")


async def test_what_the_configuration_knows_needs_no_store(store: Store) -> None:
    broken = _Broken(store)
    broken.away = True
    authenticator = _authenticator(broken, keys=(_ALICE,), tokens=(_TOKEN,))
    assert (await authenticator.identify("sk-bf-alice")).name == "alice"
    assert (await authenticator.identify("token-of-ci")).name == "ci"
    assert (await _refusal(authenticator, "")).kind is ErrorKind.UNAUTHENTICATED
    assert broken.questions == 0


async def test_the_store_is_asked_once_in_a_while(store: Store) -> None:
    broken = _Broken(store)
    await store.add_key(_ALICE)
    authenticator = _authenticator(broken)
    for _ in range(5):
        await authenticator.identify("sk-bf-alice")
    assert broken.questions == 1
