"""The reach of a process and its children, as the kernel sees it: connections, look-ups, files written."""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CALLS = "connect,sendto,sendmsg,sendmmsg,openat,mkdir,mkdirat"
_NETWORK = re.compile(r"\b(?:connect|sendto|sendmsg|sendmmsg)\(")
_ADDRESS = re.compile(r'(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]+)"')
_PORT = re.compile(r"sin6?_port=htons\((\d+)\)")
_FILE = re.compile(r'\b(?:openat\(AT_FDCWD, |mkdir\(|mkdirat\(AT_FDCWD, )"([^"]+)"(?:, ([A-Z_|]+))?.*= (\d+)')
_DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class Spy:
    """A recording of system calls, by ``strace``."""

    file: Path

    @property
    def command(self) -> list[str]:
        """Stands before the command to watch, which keeps its process id."""
        return [
            "strace",
            "-D",
            "-f",
            "-qq",
            "--seccomp-bpf",
            "-s",
            "4096",
            "-e",
            f"trace={_CALLS}",
            "-o",
            str(self.file),
        ]

    def reached(self) -> set[tuple[str, int]]:
        """The addresses and ports that were not on this machine, or that names are looked up at."""
        found = set()
        for line in self._lines():
            if not _NETWORK.search(line):
                continue
            for address, port in zip(_ADDRESS.findall(line), _PORT.findall(line), strict=False):
                if int(port) == _DNS_PORT or not _is_here(address):
                    found.add((address, int(port)))
        return found

    def written(self) -> set[Path]:
        """The files and directories that were made or opened for writing, by their absolute paths."""
        found = set()
        for line in self._lines():
            match = _FILE.search(line)
            if match is None or not match[1].startswith("/"):
                continue
            flags = match[2]
            if flags is None or any(each in flags for each in ("O_CREAT", "O_WRONLY", "O_RDWR")):
                found.add(Path(match[1]))
        return found

    def _lines(self) -> Iterator[str]:
        with self.file.open(encoding="utf-8", errors="replace") as lines:
            yield from lines


def _is_here(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    # A datagram to nobody in particular names no address of its own.
    return parsed.is_loopback or parsed.is_unspecified


@cache
def why_not() -> str:
    """Why processes cannot be watched on this machine; empty where they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-e", "trace=connect", "-o", "/dev/null", sys.executable, "-c", ""],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if tried.returncode == 0 else f"strace cannot trace here: {tried.stderr.strip()[-200:]}"
