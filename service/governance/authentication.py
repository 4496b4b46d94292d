"""From the credential that came with a request to who is calling."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC

from service.core.errors import ErrorKind, GatewayError
from service.governance.callers import ANYBODY, Caller, CallerKind
from service.governance.keys import KEY_PREFIX, Team, Token, VirtualKey, digest, same
from service.governance.store import Store
from service.storage.errors import StorageError

# A key that is made or disabled takes effect on every replica within this time.
REMEMBERED_S = 5.0
_MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """The operator's settings for credentials.

    Attributes:
        keys, tokens, teams: Those of the configuration; further keys are in the store.
        required: Whether a credential is needed. None: as soon as there is any that could be given.
        allow_direct_keys: Whether a credential that is none of ours is taken for a provider's key.
    """

    keys: Sequence[VirtualKey] = ()
    tokens: Sequence[Token] = ()
    teams: Mapping[str, Team] = field(default_factory=dict)
    required: bool | None = None
    allow_direct_keys: bool = False


@dataclass(frozen=True, slots=True)
class _Remembered:
    key: VirtualKey | None
    until: float


class Authenticator:
    """Tells who is calling.

    Args:
        now: Unix time in seconds.
    """

    def __init__(self, settings: AccessSettings, store: Store, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._store = store
        self._now = now
        # Found by the hash: what an attacker can choose and time is the hash of a guess, which tells nothing of
        # how near the guess was. The comparison that decides takes the same time for all.
        self._keys = {key.digest: key for key in settings.keys}
        self._tokens = {token.digest: token for token in settings.tokens}
        self._remembered: dict[bytes, _Remembered] = {}
        self._store_has_keys = False
        self._store_asked_until = 0.0

    async def identify(self, credential: str) -> Caller:
        """The caller that sent ``credential``; empty: it sent none.

        Raises:
            GatewayError: UNAUTHENTICATED where one is required and this is none, PERMISSION_DENIED for a key that is
                disabled or expired, UNAVAILABLE where only the store could tell and it is away.
        """
        if not credential:
            if await self._required():
                raise GatewayError(
                    ErrorKind.UNAUTHENTICATED,
                    "A credential is required: send it as 'Authorization: Bearer ...' or in the header x-api-key.",
                    may_have_run=False,
                )
            return ANYBODY
        hashed = digest(credential)
        token = self._tokens.get(hashed)
        if token is not None and same(token.digest, hashed):
            return Caller(CallerKind.TOKEN, token.name)
        key = await self._key(hashed, credential)
        if key is not None and same(key.digest, hashed):
            return self._holder_of(key)
        required = await self._required()
        if self._settings.allow_direct_keys and not credential.startswith(KEY_PREFIX):
            return Caller(CallerKind.DIRECT, direct_key=credential, confined=required)
        if required:
            raise GatewayError(
                ErrorKind.UNAUTHENTICATED, "The credential is not known here. Check the API key.", may_have_run=False
            )
        return ANYBODY

    def _holder_of(self, key: VirtualKey) -> Caller:
        if not key.enabled:
            raise _denied(f"The key {key.name!r} is disabled.", "key_disabled")
        if key.expires_at is not None and self._now() >= key.expires_at.timestamp():
            moment = key.expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            raise _denied(f"The key {key.name!r} expired at {moment}.", "key_expired")
        team = self._settings.teams.get(key.team)
        if key.team and team is None:
            # Its budgets would go with it unnoticed.
            raise _denied(f"The team of the key {key.name!r} is no longer configured.", "team_unknown")
        return Caller(CallerKind.VIRTUAL_KEY, key.name, key, team)

    async def _key(self, hashed: bytes, credential: str) -> VirtualKey | None:
        key = self._keys.get(hashed)
        if key is not None or not credential.startswith(KEY_PREFIX):
            return key
        now = self._now()
        remembered = self._remembered.get(hashed)
        if remembered is not None and now < remembered.until:
            return remembered.key
        try:
            key = await self._store.find_key(hashed)
        except StorageError:
            # Nobody is let in because we cannot look; but whom we knew stays known.
            if remembered is not None and remembered.key is not None:
                return remembered.key
            raise _cannot_tell() from None
        if len(self._remembered) >= _MOST_REMEMBERED:
            # Guesses fill it up too; what is in use comes back with the next request.
            self._remembered.clear()
        self._remembered[hashed] = _Remembered(key, now + REMEMBERED_S)
        return key

    async def _required(self) -> bool:
        settings = self._settings
        if settings.required is not None:
            return settings.required
        if settings.keys or settings.tokens or self._store_has_keys:
            return True
        now = self._now()
        if now >= self._store_asked_until:
            try:
                self._store_has_keys = await self._store.has_keys()
            except StorageError:
                raise _cannot_tell() from None
            self._store_asked_until = now + REMEMBERED_S
        return self._store_has_keys


def _denied(message: str, code: str) -> GatewayError:
    return GatewayError(ErrorKind.PERMISSION_DENIED, message, code=code, may_have_run=False)


def _cannot_tell() -> GatewayError:
    return GatewayError(
        ErrorKind.UNAVAILABLE,
        "The credential cannot be checked just now.",
        code="state_unavailable",
        retry_after_s=1.0,
        may_have_run=False,
    )
