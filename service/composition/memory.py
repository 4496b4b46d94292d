"""How this process holds its memory."""

from __future__ import annotations

import ctypes
import gc
import sys

# Numbers of parameters, from malloc.h.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE_BYTES = 4 << 20
_ARENAS = 2


def give_back_large_blocks() -> None:
    """Lets what a large image took go back to the system as soon as it is freed, where the C library is glibc.

    By itself glibc does so at first only: once large blocks have been freed it keeps and reuses them, and what is
    allocated after them keeps it from ever giving them back. It also keeps a heap for each of a dozen threads, and
    each grows to the most that its thread ever held.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.mallopt(_M_ARENA_MAX, _ARENAS)


def settle() -> None:
    """Takes everything that lives so far for permanent: the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()
