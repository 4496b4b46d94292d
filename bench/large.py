"""Large images: how many a second, and what each costs in memory while it is under way."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bench.load import Goal, run
from bench.payloads import png
from bench.processes import forget_peak, peak_mb, resident_mb
from bench.rounds import measured
from bench.systems import System, floor, gateway, upstream
from bench.throughput import through_http, upload
from bench.upstream import PICTURE

# Long enough for all uploads to have arrived before the first is answered.
_DELAY_MS = 3000
_AT_A_TIME = 6


@dataclass(frozen=True, slots=True)
class Large:
    """The results for images of one size.

    Attributes:
        held: Memory for each image under way, in multiples of its length, service and Envoy together, while all
            wait for the upstream; from a state in which as many have been served before.
        most: The same at the worst moment, that is while they arrive.
        first: As ``most``, for the very first ones.
    """

    system: str
    megabytes: int
    per_second: float
    cpu_ms: float
    held: float
    most: float
    first: float


def large_images(directory: Path, megabytes: int) -> list[Large]:
    """The gateway's and the floor's figures."""
    found = []
    for start in (gateway, floor):
        image = png(megabytes * 1_000_000)
        with contextlib.ExitStack() as stack:
            url = stack.enter_context(upstream(directory))
            fast = stack.enter_context(start(url, directory))
            sample = measured(through_http(fast, upload(image)), clients=2, requests=24)
        with contextlib.ExitStack() as stack:
            url = stack.enter_context(upstream(directory))
            slow = stack.enter_context(start(f"{url}/delay-{_DELAY_MS}", directory))
            _, first = _memory(slow, image)
            held, most = _memory(slow, image)
        found.append(Large(fast.name, megabytes, sample.per_second, sample.cpu_ms, held, most, first))
    return found


def _memory(system: System, image: bytes) -> tuple[float, float]:
    """Memory for each upload under way, in multiples of its length: while they wait, and at the worst moment."""
    goal = Goal(system.url, upload(image), len(PICTURE), system.headers)
    pids = [*system.processes["service"], *system.processes["envoy"]]
    time.sleep(2)  # noqa: TID251 - what the last ones took is given back in the background
    before = resident_mb(pids)
    forget_peak(pids)
    sending = threading.Thread(target=run, args=(goal,), kwargs={"clients": _AT_A_TIME, "requests": _AT_A_TIME})
    sending.start()
    time.sleep(0.8 * _DELAY_MS / 1000)  # noqa: TID251 - a thread sends meanwhile; there is no event loop here
    waiting = resident_mb(pids)
    sending.join()
    unit = _AT_A_TIME * len(image) / 1e6
    return (waiting - before) / unit, (peak_mb(pids) - before) / unit
