"""The memory of this process: what is given back to the system, and what is kept for the next picture."""

from __future__ import annotations

import ctypes
import gc
import sys

# Numbers of parameters, from malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
# From this size on a block is mapped by itself, and given back as soon as it is freed.
_LARGE_BYTES = 4 << 20
# Free memory at the end of the heap that is kept for the next picture, and the step by which the heap grows. Setting
# one of these parameters freezes the others at 128 KiB: then each freed picture is given back and faulted in again,
# which took half of the service's time for a picture of 1.5 MB.
_KEPT_BYTES = 64 << 20
_STEP_BYTES = 16 << 20
_ARENAS = 2


def give_back_large_blocks() -> None:
    """Gives the memory of a large image back to the system as soon as it is freed, where the C library is glibc.

    By itself glibc does so at first only: once large blocks have been freed it keeps and reuses them, and what is
    allocated after them keeps it from ever giving them back. It also keeps a heap for each of a dozen threads, and
    each grows to the most that its thread ever held.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_TOP_PAD, _STEP_BYTES)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.mallopt(_M_ARENA_MAX, _ARENAS)


def settle() -> None:
    """Takes everything that lives so far for permanent: the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()
