"""Secrets that a file holds, such as those that Kubernetes and Docker put under ``/run/secrets``."""

from __future__ import annotations

from pathlib import Path

_LONGEST = 65_536


def read_secret(path: str) -> str:
    """The secret in a file, without the line break at its end.

    Raises:
        ValueError: It cannot be read, or holds no secret; the message never holds what it does hold.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(_LONGEST + 1)
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror}") from None
    text = data.decode("latin-1").strip()
    if not text:
        raise ValueError(f"the file {path} is empty")
    if len(data) > _LONGEST or not text.isascii() or not text.isprintable():
        raise ValueError(f"the file {path} holds something else than one key in one line")
    return text
