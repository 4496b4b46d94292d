"""The gateway's targets, and whether they were reached."""

from __future__ import annotations

from dataclasses import dataclass

from bench.large import Large
from bench.moments import Moments
from bench.rounds import Sample, number, ratios, spread


@dataclass(frozen=True, slots=True)
class Target:
    """One target.

    Attributes:
        most: The largest value that reaches it; ``least``: the smallest. One of the two is given.
    """

    name: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None

    @property
    def reached(self) -> bool:
        if self.most is not None:
            return self.value <= self.most
        return self.least is None or self.value >= self.least

    def __str__(self) -> str:
        bound = f"at most {number(self.most)}" if self.most is not None else f"at least {number(self.least or 0)}"
        verdict = "yes" if self.reached else "**no**"
        return f"| {self.name} | {bound}{self.unit} | {number(self.value)}{self.unit} | {verdict} |"


def of_comparison(samples: list[Sample], *, with_peers: bool) -> list[Target]:
    """The targets of the side-by-side runs, with medians."""
    found = [
        Target(
            f"CPU a request, over the floor, {_clients(count)}",
            ratios(samples, "gateway", "floor", count, "cpu_ms").median,
            " x",
            most=1.25,
        )
        for count in (1, 16)
    ]
    added, added_by_floor = (_added_ms(samples, name) for name in ("gateway", "floor"))
    what = f"p50 added to the upstream's, 1 client (the floor alone adds {number(added_by_floor)} ms)"
    found.append(Target(what, added, " ms", most=1.2))
    if with_peers:
        found += [
            Target(
                f"throughput over {peer}, {_clients(count)}",
                ratios(samples, "gateway", peer, count, "per_second").median,
                " x",
                least=least,
            )
            for peer, least in (("portkey", 1.6), ("litellm", 6.0))
            for count in (1, 16)
        ]
    return found


def _clients(count: int) -> str:
    return "1 client" if count == 1 else f"{count} clients"


def _added_ms(samples: list[Sample], contender: str) -> float:
    """The time that one client waits for a contender beyond its wait for the upstream itself."""
    return spread(samples, contender, 1, "p50_ms").median - spread(samples, "upstream", 1, "p50_ms").median


def of_figures(moments: Moments, large: list[Large]) -> list[Target]:
    """The targets of the single figures."""
    held = max(each.held for each in large if each.system == "gateway" and each.megabytes == 20)
    return [
        Target("memory at rest, service, engine not loaded", moments.idle_mb, " MB", most=150),
        Target("memory of a 20 MB upload under way, in multiples of it", held, " x", most=3),
        Target("memory grown between 2,000 and 10,000 requests", moments.grown_mb, " MB", most=5),
        Target("direct cache hit over gRPC, 1 client, p50", moments.cache_hit_ms, " ms", most=3),
        Target("the same, of a file not seen before, decoded", moments.cache_hit_decoded_ms, " ms", most=3),
        Target("cold start to ready", moments.start_s, " s", most=2),
    ]
