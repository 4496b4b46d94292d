"""An encoded body as one piece, to compare it with what arrived."""

from __future__ import annotations


def whole(content: bytes | tuple[bytes, ...]) -> bytes:
    """The bytes of ``content``, which the transport may send in pieces."""
    return content if isinstance(content, bytes) else b"".join(content)
