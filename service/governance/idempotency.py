"""Requests that bring an idempotency key: the work is done once, and whoever sends the request again gets its answer.

A key belongs to a credential. The first request with it claims it, works, and leaves its answer; a later one waits for
that, or finds it. A process that ends in between leaves a claim that is no longer renewed: whether its work was done,
and billed, nobody knows, so it is not done again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from service.concurrency.tasks import repeating
from service.core.errors import ErrorKind, GatewayError, invalid
from service.storage.errors import StorageError

KEY_HEADER: Final = "idempotency-key"
_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
KEPT_S: Final = 86_400.0
# A sidecar tries again within its own time-out, not hours later.
KEPT_FOR_SIDECARS_S: Final = 900.0
# A claim is renewed this often, and given up for dead after several renewals that did not come.
_RENEWED_EVERY_S: Final = 5.0
_LEASE_S: Final = 30.0
_FIRST_LOOK_S: Final = 0.05
_LONGEST_LOOK_S: Final = 0.5
LARGEST_ANSWER_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Once:
    """One request that is to be done once.

    Attributes:
        name: The key and the credential it belongs to, hashed.
        digest: Of everything that the request asks for.
        kept_s: How long its answer is kept.
        begins: Whether it surely is the first of its kind, so that an earlier answer of that name is not its own.
        by_caller: Whether the caller chose the key, so that another request under it is a mistake of the caller's.
    """

    name: str
    digest: str
    kept_s: float = KEPT_S
    begins: bool = False
    by_caller: bool = True


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim that is there already.

    Attributes:
        answer: What came of it; None: nothing yet, empty: an answer that was too large, or is no longer kept.
        alive: Whether somebody is working on it.
    """

    digest: str
    alive: bool
    answer: bytes | None = field(default=None, repr=False)


class ClaimStore(Protocol):
    """Keeps claims. Methods raise StorageError when they cannot; times are Unix seconds."""

    async def claim(self, once: Once, owner: str, now: float, alive_until: float) -> Claimed | None:
        """Claims the name for ``owner``; what is there already, where there is something."""
        ...

    async def renew(self, once: Once, owner: str, alive_until: float) -> None:
        """Says that the owner is still at work."""
        ...

    async def finish(self, once: Once, owner: str, answer: bytes, kept_until: float) -> None:
        """Leaves the answer."""
        ...

    async def forget(self, once: Once, owner: str) -> None:
        """Gives the claim up: nothing was done."""
        ...

    async def aclose(self) -> None: ...


def once_by_key(key: str, credential: str, digest: str) -> Once:
    """The ``Once`` for an idempotency key that the caller sent.

    Raises:
        GatewayError: INVALID_REQUEST if it is not a valid key.
    """
    if not _KEY.fullmatch(key):
        raise invalid(
            KEY_HEADER,
            f"The header {KEY_HEADER} must be 1 to 255 printable ASCII characters, such as a UUID.",
            code="invalid_header",
        )
    return Once(_hashed("key", credential, key), digest)


def once_by_sidecar(request_id: str, attempt: int, credential: str, digest: str) -> Once:
    """The ``Once`` for a proxy's headers: a repeated request has the same id and a higher count of attempts."""
    name = _hashed("sidecar", credential, request_id, digest)
    return Once(name, digest, KEPT_FOR_SIDECARS_S, begins=attempt <= 1, by_caller=False)


def _hashed(*parts: str) -> str:
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        whole.update(b"%d:%b" % (len(data), data))
    return whole.hexdigest()


class Idempotency:
    """Lets a request be done by one, and its answer be found by all others."""

    def __init__(self, store: ClaimStore, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now

    async def found_or_claimed(self, once: Once) -> bytes | Claim:
        """The answer that is there, once there is one; or a claim, where the work is the caller's to do.

        Raises:
            GatewayError: ALREADY_EXISTS for a key that was used for another request; UNAVAILABLE where the store cannot
                be reached, or where it is not known what came of the first request.
        """
        owner = secrets.token_hex(16)
        pause = _FIRST_LOOK_S
        while True:
            found = await self._claim(once, owner)
            if found is None:
                return Claim(self._store, once, owner, self._now)
            if found.digest != once.digest:
                raise GatewayError(
                    ErrorKind.KEY_REUSED,
                    f"This {KEY_HEADER} was used before for a request that asked for something else. A new request "
                    "needs a new key.",
                    param=KEY_HEADER,
                    may_have_run=False,
                )
            if found.answer:
                return found.answer
            if found.answer is not None:
                raise outcome_unknown("The request was done before, and its answer is no longer kept.")
            if not found.alive:
                raise outcome_unknown("The process that worked on this request ended before it had an answer.")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK_S)

    async def _claim(self, once: Once, owner: str) -> Claimed | None:
        now = self._now()
        try:
            return await self._store.claim(once, owner, now, now + _LEASE_S)
        except StorageError:
            if not once.by_caller:
                # Nobody asked for it: then the request is served as if there were no such thing.
                return None
            raise GatewayError(
                ErrorKind.UNAVAILABLE,
                "Idempotency keys cannot be looked up just now.",
                code="state_unavailable",
                retry_after_s=1.0,
                may_have_run=False,
            ) from None


class Claim:
    """The right, and the duty, to do a request once."""

    def __init__(self, store: ClaimStore, once: Once, owner: str, now: Callable[[], float]) -> None:
        self._store = store
        self._once = once
        self._owner = owner
        self._now = now

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """A block in which others see that somebody is at work."""
        async with repeating(self._renew, name="renewal of a claim", every_s=_RENEWED_EVERY_S):
            yield

    async def finish(self, answer: bytes) -> None:
        """Leaves the answer for others. Where the store is away, they are told that nothing is known."""
        with contextlib.suppress(StorageError):
            kept = answer if len(answer) <= LARGEST_ANSWER_BYTES else b""
            await self._store.finish(self._once, self._owner, kept, self._now() + self._once.kept_s)

    async def forget(self) -> None:
        """Lets others do the request: nothing came of it that could be billed."""
        with contextlib.suppress(StorageError):
            await self._store.forget(self._once, self._owner)

    async def _renew(self) -> None:
        with contextlib.suppress(StorageError):
            await self._store.renew(self._once, self._owner, self._now() + _LEASE_S)


def outcome_unknown(message: str) -> GatewayError:
    """The error for a request whose answer is not there to be told again; ``message`` says why."""
    return GatewayError(
        ErrorKind.UNAVAILABLE,
        f"{message} It may have been billed, so it is not done again; a new {KEY_HEADER} asks for new work.",
        code="idempotency_outcome_unknown",
        may_have_run=True,
    )
