"""Where numba keeps compiled code, remembered until there is any: numba takes 50 MB merely to be told."""

from __future__ import annotations

from pathlib import Path

_directory: Path | None = None


def keep_in(directory: Path) -> None:
    """What is compiled from now on is kept in ``directory``."""
    global _directory
    _directory = directory


def tell_numba() -> None:
    """To be called before the first function is compiled."""
    if _directory is not None:
        import numba

        setattr(numba.config, "CACHE_DIR", str(_directory))  # noqa: B010 - its attributes are dynamic
