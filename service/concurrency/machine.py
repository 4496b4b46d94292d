"""The processors and the memory that this process may use: those of its container, where it runs in one.

Sources: cgroup-v2.rst and cgroup-v1/memory.rst of the Linux kernel's documentation.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
# cgroup v1 writes "no limit" as the largest multiple of a page that fits into 63 bits.
_NO_LIMIT = 1 << 60


def usable_processors(cgroups: Path = _CGROUPS) -> int:
    """Processors that this process may keep busy, at least 1: its CPU quota rounded up, or those it is bound to."""
    # A container or taskset may leave us fewer than the machine has; macOS cannot tell.
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [
        *(_quota_of(directory / "cpu.max") for directory in _own(cgroups, "")),
        *(
            _ratio(_text(directory / "cpu.cfs_quota_us"), _text(directory / "cpu.cfs_period_us"))
            for directory in _own(cgroups, "cpu")
        ),
    ]
    return max(1, min([bound, *(math.ceil(quota) for quota in quotas if quota is not None)]))


def usable_memory_bytes(cgroups: Path = _CGROUPS) -> int:
    """Bytes of memory that this process may use: its container's limit, or the machine's memory."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [
        *(_number(directory / "memory.max") for directory in _own(cgroups, "")),
        *(_number(directory / "memory.limit_in_bytes") for directory in _own(cgroups, "memory")),
    ]
    return min([physical, *(limit for limit in limits if limit is not None and 0 < limit < _NO_LIMIT)])


def allow_files() -> int:
    """Lets this process open as many files as it may, and returns how many: a connection is one, too.

    What it is allowed at first is often 1,024, for the sake of programs that use ``select``.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS calls it unlimited and then refuses that.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft


def _own(cgroups: Path, controller: str) -> list[Path]:
    """The directories of this process's own group and of the groups around it; each of them limits it.

    Args:
        controller: The one of version 1; empty: version 2, which has one tree for all.
    """
    # A line is number:controllers:path; version 2 is the one without controllers. In a container of its own namespace
    # the path is /, and where the host's path shows in a container there is no such directory: its files are absent.
    lines = [line.split(":", 2) for line in _text(_MEMBERSHIP).splitlines()]
    own = next((line[2] for line in lines if len(line) == 3 and controller in line[1].split(",")), "")
    directory = cgroups / controller
    found = [directory]
    for name in own.split("/"):
        if name in (".", ".."):
            break
        if name:
            directory = directory / name
            found.append(directory)
    return found


def _quota_of(file: Path) -> float | None:
    """The quota in processors; None: there is none."""
    words = _text(file).split()
    return _ratio(words[0], words[1]) if len(words) == 2 else None


def _ratio(quota: str, period: str) -> float | None:
    try:
        ratio = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return ratio if ratio > 0 else None


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
