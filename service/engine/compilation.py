"""The directory for numba's compiled code, passed on only once something is compiled: importing numba takes 50 MB."""

from __future__ import annotations

from pathlib import Path

_directory: Path | None = None


def keep_in(directory: Path) -> None:
    """Sets the directory in which code compiled from now on is kept."""
    global _directory
    _directory = directory


def tell_numba() -> None:
    """To be called before the first function is compiled."""
    if _directory is not None:
        import numba

        setattr(numba.config, "CACHE_DIR", str(_directory))  # noqa: B010 - its attributes are dynamic
