"""The processors and the memory that this process may use: those of its container, where it runs in one.

Sources: cgroup-v2.rst and cgroup-v1/memory.rst of the Linux kernel's documentation.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
# cgroup v1 writes "no limit" as the largest multiple of a page that fits into 63 bits.
_NO_LIMIT = 1 << 60


def usable_processors(cgroups: Path = _CGROUPS) -> int:
    """Processors that this process may keep busy, at least 1: its CPU quota rounded up, or those it is bound to."""
    # A container or taskset may leave us fewer than the machine has; macOS cannot tell.
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for directory in _own(cgroups) if (quota := _cpu_quota(directory)) is not None]
    return max(1, min([bound, *map(math.ceil, quotas)]))


def usable_memory_bytes(cgroups: Path = _CGROUPS) -> int:
    """Bytes of memory that this process may use: its container's limit, or the machine's memory."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [
        limit
        for directory in _own(cgroups)
        for file in (directory / "memory.max", directory / "memory" / "memory.limit_in_bytes")
        if (limit := _number(file)) is not None and 0 < limit < _NO_LIMIT
    ]
    return min([physical, *limits])


def _own(cgroups: Path) -> list[Path]:
    """The directories of this process's own group and of the groups around it; each of them limits it."""
    # Version 2 is the line that begins with 0::. In a container of its own namespace its path is /.
    lines = _text(_MEMBERSHIP).splitlines()
    own = next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
    directory, found = cgroups, [cgroups]
    for name in own.split("/"):
        if name in ("", "..", "."):
            break
        directory = directory / name
        found.append(directory)
    return found


def _cpu_quota(cgroups: Path) -> float | None:
    """The quota in processors; None: there is none."""
    words = _text(cgroups / "cpu.max").split()
    if len(words) == 2 and words[0] != "max":
        return _ratio(words[0], words[1])
    quota = _number(cgroups / "cpu" / "cpu.cfs_quota_us")
    period = _number(cgroups / "cpu" / "cpu.cfs_period_us")
    if quota is None or period is None or quota <= 0:
        return None
    return _ratio(str(quota), str(period))


def _ratio(quota: str, period: str) -> float | None:
    try:
        return int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None


def _number(file: Path) -> int | None:
    try:
        return int(_text(file))
    except ValueError:
        return None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
