"""Load from h2load (nghttp2): HTTP/1.1 for REST, HTTP/2 for gRPC, every request's own time, and it is not in the way.

A closed loop: as many requests under way as there are clients, each on its own connection.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.payloads import Payload

INSTALL = "h2load makes the load: `apt-get install nghttp2-client` (Debian, Ubuntu), `brew install nghttp2` (macOS)."
_DATA = re.compile(r"traffic: .*\((\d+)\) data")


@dataclass(frozen=True, slots=True)
class Goal:
    """The place that requests go to.

    Attributes:
        answer_bytes: An answer shorter than this on average is an error in disguise.
    """

    url: str
    payload: Payload
    answer_bytes: int
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_grpc(self) -> bool:
        return self.payload.content_type == "application/grpc"


@dataclass(frozen=True, slots=True)
class Run:
    """The results of one run.

    Attributes:
        seconds: From the first request's start to the last answer's end.
        milliseconds: Of every request, ascending.
    """

    seconds: float
    milliseconds: Sequence[float] = field(repr=False)

    @property
    def per_second(self) -> float:
        return len(self.milliseconds) / self.seconds

    @property
    def p50_ms(self) -> float:
        return statistics.median(self.milliseconds)

    @property
    def p99_ms(self) -> float:
        return self.milliseconds[min(len(self.milliseconds) - 1, int(0.99 * len(self.milliseconds)))]


def require_generator() -> None:
    """Ends the program with how to install the generator where it is missing."""
    if shutil.which("h2load") is None:
        raise SystemExit(INSTALL)


def run(goal: Goal, *, clients: int, requests: int) -> Run:
    """Sends exactly ``requests`` requests.

    Raises:
        RuntimeError: A request failed, or answers are too short to hold what was asked for.
    """
    with tempfile.TemporaryDirectory() as directory:
        body, log = Path(directory, "body"), Path(directory, "log")
        body.write_bytes(goal.payload.body)
        headers = {"content-type": goal.payload.content_type, **goal.headers}
        if goal.is_grpc:
            headers["te"] = "trailers"
        command = ["h2load", "-t1", f"-c{clients}", f"-n{max(requests, clients)}", f"-d{body}", f"--log-file={log}"]
        # Wide windows, or the generator itself would hold back large answers.
        command += ["-w", "24", "-W", "24"] if goal.is_grpc else ["--h1"]
        command += [f"-H{name}: {value}" for name, value in headers.items()]
        finished = subprocess.run([*command, goal.url], capture_output=True, text=True, check=False)
        rows = [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []
    failed = sum(row[1] != "200" for row in rows)
    if finished.returncode or not rows or failed:
        raise RuntimeError(f"{goal.url}: {failed} of {len(rows)} requests failed\n{finished.stdout}{finished.stderr}")
    data = _DATA.search(finished.stdout)
    # h2load counts the body of HTTP/1.1 answers with everything else that is no header.
    if data is None or int(data[1]) < goal.answer_bytes * len(rows):
        raise RuntimeError(f"{goal.url}: the answers are too short to be images\n{finished.stdout}")
    starts = [int(row[0]) for row in rows]
    ends = [int(row[0]) + int(row[2]) for row in rows]
    return Run((max(ends) - min(starts)) / 1e6, sorted(int(row[2]) / 1000 for row in rows))


def requests_for(goal: Goal, *, clients: int, seconds: float) -> int:
    """The number of requests that take about ``seconds``; finding out warms the other side up."""
    count = clients * 4
    while True:
        begun = time.monotonic()
        rate = run(goal, clients=clients, requests=count).per_second
        if time.monotonic() - begun > min(0.5, seconds / 4):
            return max(clients * 4, round(rate * seconds))
        count *= 2
