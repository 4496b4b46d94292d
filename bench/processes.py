"""Starting what is measured, and what the kernel says it used: processor time and memory, from /proc (Linux)."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STOPS_WITHIN_S = 30.0


def inherited() -> dict[str, str]:
    """This process's environment without the ports that ``make`` has put there for ``make run``."""
    return {name: value for name, value in os.environ.items() if name not in ("HTTP_PORT", "GRPC_PORT")}


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, *, cwd: Path, environment: dict[str, str] | None = None
) -> Iterator[int]:
    """A child process while the block lasts; its process id. What it writes goes to ``log``."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            list(command), cwd=cwd, env=inherited() | (environment or {}), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield child.pid
    finally:
        child.send_signal(signal.SIGINT if child.poll() is None else 0)
        try:
            child.wait(_STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_until(condition: Callable[[], bool], what: str, *, within_s: float = 90.0) -> float:
    """Waits until ``condition`` holds; returns the seconds that took.

    Raises:
        TimeoutError: It did not in time.
    """
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > within_s:
            raise TimeoutError(f"{what} within {within_s:g} seconds")
        time.sleep(0.02)  # noqa: TID251 - waits for another process; there is no event loop here
    return time.monotonic() - begun


def answers(port: int) -> bool:
    """Whether somebody accepts connections at a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now, all different, and that the system does not hand out by itself."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        each = waiting.pop()
        found.append(each)
        waiting.extend(children.get(each, ()))
    return found


def command_of(pid: int) -> str:
    """The command line of a process, its arguments separated by blanks."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def cpu_s(pids: Sequence[int]) -> float:
    """Processor seconds that processes have used so far, all threads, user and system."""
    return sum(int(_stat(pid)[11]) + int(_stat(pid)[12]) for pid in pids) / _TICKS_PER_S


def resident_mb(pids: Sequence[int]) -> float:
    """Resident memory now, in MB of 10^6 bytes, summed over processes."""
    return sum(_status_kib(pid, "VmRSS") for pid in pids) * 1024 / 1e6


def forget_peak(pids: Sequence[int]) -> None:
    """Lets the peak that ``peak_mb`` tells begin anew."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mb(pids: Sequence[int]) -> float:
    """Most resident memory since ``forget_peak``, in MB, summed over processes: each at its own worst moment."""
    return sum(_status_kib(pid, "VmHWM") for pid in pids) * 1024 / 1e6


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from the state on (proc(5)); index 1 is the parent, 11 and 12 are user and system ticks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _status_kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ValueError(f"/proc/{pid}/status has no {name}")
