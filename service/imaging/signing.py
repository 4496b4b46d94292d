"""Signatures that make a link to a stored result work until it expires, and no other link."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from service.core.errors import ErrorKind, GatewayError

SECRET_BYTES = 32
NAME_PATTERN = re.compile(r"[A-Za-z0-9_-]{32}\.(?:png|jpeg|webp|gif)", re.ASCII)
_EXPIRES_PATTERN = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SignedQuery:
    """The values of a signed link's query: ``?expires=...&signature=...``."""

    expires: str
    signature: str


def valid_name(name: str) -> bool:
    """Whether this is a name as the store gives them, and so safe to look up."""
    return NAME_PATTERN.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class LinkSigner:
    """Signs and verifies links to stored results: HMAC-SHA256 over name and expiry.

    Args:
        secret: At least 32 random bytes, shared by all replicas.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < SECRET_BYTES:
            raise ValueError(f"the signing secret must have at least {SECRET_BYTES} bytes")

    def sign(self, name: str, expires_at: int) -> SignedQuery:
        """The query of a link that works until a moment.

        Args:
            name: A name the store gave.
            expires_at: The first second (Unix time) at which the link no longer works.
        """
        expires = str(expires_at)
        return SignedQuery(expires, self._signature(name, expires))

    def verify(self, name: str, expires: str, signature: str, *, now: float) -> None:
        """Accepts a link, or raises.

        The signature is judged before the expiry, so a forger learns nothing from the answer.

        Args:
            now: Unix time in seconds.

        Raises:
            GatewayError: PERMISSION_DENIED ``invalid_signature`` for a link that we did not make; NOT_FOUND
                ``file_expired`` for one that we made and whose time is over.
        """
        genuine = (
            valid_name(name)
            and _EXPIRES_PATTERN.fullmatch(expires) is not None
            and hmac.compare_digest(self._signature(name, expires).encode(), signature.encode("utf-8", "replace"))
        )
        if not genuine:
            raise GatewayError(
                ErrorKind.PERMISSION_DENIED, "The signature of this link is not valid.", code="invalid_signature"
            )
        if now >= int(expires):
            raise GatewayError(ErrorKind.NOT_FOUND, "This link has expired.", code="file_expired")

    def _signature(self, name: str, expires: str) -> str:
        return hmac.new(self.secret, f"{name}\n{expires}".encode(), hashlib.sha256).hexdigest()


def load_or_create_secret(path: Path) -> bytes:
    """The signing secret kept in a file; made, with mode 0600, where there is none yet.

    Safe when several processes start at once: a complete file is linked into place, so exactly one of them
    creates it and all of them read the same secret.

    Raises:
        ValueError: The file holds fewer than 32 bytes.
        OSError: The file can neither be read nor made.
    """
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        _create(path)
        secret = path.read_bytes()
    if len(secret) < SECRET_BYTES:
        raise ValueError(f"{path} must hold at least {SECRET_BYTES} bytes")
    return secret


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link fails where another process was first.
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
