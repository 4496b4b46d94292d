"""Interleaved rounds: every system in turn, in the other order each time, so that a busy machine is busy for all."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.load import Goal, requests_for, run
from bench.processes import cpu_s, forget_peak, peak_mb


@dataclass(frozen=True, slots=True)
class Contender:
    """One way into one system."""

    name: str
    goal: Goal
    pids: Sequence[int]
    service_pids: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One run through one contender.

    Attributes:
        cpu_ms: Processor milliseconds a request, all processes of the system together.
        service_cpu_ms: Of these the service's own, without Envoy.
        peak_mb: Most resident memory, all processes together.
    """

    contender: str
    clients: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    service_cpu_ms: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and most of one figure over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{number(self.median)} ({number(self.least)}–{number(self.most)})"


def number(value: float) -> str:
    """With three significant digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def measured(contender: Contender, *, clients: int, requests: int) -> Sample:
    """Runs once and asks the kernel what it took."""
    forget_peak(contender.pids)
    before, service_before = cpu_s(contender.pids), cpu_s(contender.service_pids)
    made = run(contender.goal, clients=clients, requests=requests)
    count = len(made.milliseconds)
    return Sample(
        contender.name,
        clients,
        made.per_second,
        made.p50_ms,
        made.p99_ms,
        (cpu_s(contender.pids) - before) * 1000 / count,
        (cpu_s(contender.service_pids) - service_before) * 1000 / count,
        peak_mb(contender.pids),
    )


def interleaved(
    contenders: Sequence[Contender],
    *,
    clients: Sequence[int],
    rounds: int,
    seconds: float,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Sample]:
    """``rounds`` runs of about ``seconds`` for every contender and number of clients."""
    samples = []
    for count in clients:
        requests = {each.name: requests_for(each.goal, clients=count, seconds=seconds) for each in contenders}
        for turn in range(rounds):
            for each in contenders if turn % 2 == 0 else reversed(contenders):
                sample = measured(each, clients=count, requests=requests[each.name])
                tell(f"{count:3} clients  {sample.contender:16} {sample.per_second:7.0f}/s  {sample.cpu_ms:.3f} ms CPU")
                samples.append(sample)
    return samples


def spread(samples: Sequence[Sample], contender: str, clients: int, figure: str) -> Spread:
    """One figure of one contender over all rounds."""
    chosen = [each for each in samples if (each.contender, each.clients) == (contender, clients)]
    return Spread.of([float(getattr(each, figure)) for each in chosen])


def ratios(samples: Sequence[Sample], of: str, to: str, clients: int, figure: str) -> Spread:
    """The ratio of two contenders, round by round: what disturbs one round disturbs both sides of it."""

    def figures(name: str) -> list[float]:
        return [getattr(each, figure) for each in samples if (each.contender, each.clients) == (name, clients)]

    return Spread.of([one / other for one, other in zip(figures(of), figures(to), strict=True)])


def as_json(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """For keeping beside the report."""
    return [asdict(each) for each in samples]
