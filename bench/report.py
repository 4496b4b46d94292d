"""The report: Markdown for people, JSON for ``make bench-check``, and a plot."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.engine import Rate
from bench.large import Large
from bench.moments import Moments
from bench.rounds import Sample, as_json, number, ratios, spread
from bench.targets import of_comparison, of_figures

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that one run of the benchmark found."""

    comparison: list[Sample]
    with_peers: bool
    large: list[Large]
    moments: Moments
    growth: list[Sample]
    engine: list[Rate]


def write(measured: Measured, directory: Path = RESULTS) -> Path:
    """Writes ``report.md``, ``report.json`` and ``report.svg``; returns the first."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "report.json").write_text(json.dumps(_json(measured), indent=1) + "\n")
    _plot(measured.comparison, directory / "report.svg")
    path = directory / "report.md"
    path.write_text(_markdown(measured))
    return path


def ratios_to_floor(samples: Sequence[Sample]) -> dict[str, float]:
    """What ``make bench-check`` compares: ratios that a slower machine leaves as they are."""
    return {
        f"{figure} {count}": ratios(samples, "gateway", "floor", count, figure).median
        for count in sorted({each.clients for each in samples})
        for figure in ("cpu_ms", "service_cpu_ms", "p50_ms")
    }


def _json(measured: Measured) -> dict[str, object]:
    return {
        "ratios_to_floor": ratios_to_floor(measured.comparison),
        "comparison": as_json(measured.comparison),
        "large": [asdict(each) for each in measured.large],
        "moments": asdict(measured.moments),
        "growth": as_json(measured.growth),
        "engine": [asdict(each) for each in measured.engine],
    }


def _markdown(measured: Measured) -> str:
    targets = [
        *of_comparison(measured.comparison, with_peers=measured.with_peers),
        *of_figures(measured.moments, measured.large),
    ]
    return "\n".join(
        [
            f"# Benchmark, {datetime.now(UTC):%Y-%m-%d}",
            "",
            f"{_machine()}. Loopback only; medians over interleaved rounds, least and most in brackets. The load",
            "generator, the upstream and what is measured share the processors: trust ratios more than rates.",
            "",
            "## Targets",
            "",
            "| what | target | measured | reached |",
            "|---|---|---|---|",
            *map(str, targets),
            "",
            "## Side by side: a form with a 100 KB PNG, one image back",
            "",
            *_comparison(measured.comparison),
            "",
            "![requests a second and processor time](report.svg)",
            "",
            "## Large images",
            "",
            "| system | MB | a second, 2 clients | CPU ms | held x | most x | first x |",
            "|---|---|---|---|---|---|---|",
            *(
                f"| {each.system} | {each.megabytes} | {number(each.per_second)} | {number(each.cpu_ms)}"
                f" | {number(each.held)} | {number(each.most)} | {number(each.first)} |"
                for each in measured.large
            ),
            "",
            "Memory of an upload under way in multiples of its length, service and Envoy together: while it waits for",
            "the upstream; at the worst moment; and at the worst moment of the very first ones.",
            "",
            "## Single figures",
            "",
            *_moments(measured.moments),
            "",
            "## More and more requests at once, 200 ms each upstream",
            "",
            "| clients | a second | p50 ms | p99 ms | CPU ms | peak MB |",
            "|---|---|---|---|---|---|",
            *(
                f"| {each.clients} | {number(each.per_second)} | {number(each.p50_ms)} | {number(each.p99_ms)}"
                f" | {number(each.cpu_ms)} | {number(each.peak_mb)} |"
                for each in measured.growth
            ),
            "",
            "## The embedded engine: finished images a second on one core",
            "",
            *_engine(measured.engine),
            "",
        ]
    )


def _comparison(samples: Sequence[Sample]) -> list[str]:
    lines = [
        "| system | clients | a second | p50 ms | p99 ms | CPU ms | CPU to floor | a second to gateway | peak MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    names = list(dict.fromkeys(each.contender for each in samples))
    for count in sorted({each.clients for each in samples}):
        for name in names:
            figures = [spread(samples, name, count, f) for f in ("per_second", "p50_ms", "p99_ms", "cpu_ms")]
            lines.append(
                f"| {name} | {count} | {' | '.join(map(str, figures))}"
                f" | {ratios(samples, name, 'floor', count, 'cpu_ms')}"
                f" | {ratios(samples, name, 'gateway', count, 'per_second')}"
                f" | {spread(samples, name, count, 'peak_mb')} |"
            )
    return lines


def _moments(found: Moments) -> list[str]:
    return [
        f"- n=10 at a model that makes one image a call: {number(found.fan_out_ms)} ms.",
        (
            f"- The same streamed: first image after {number(found.first_image_ms)} ms, last after"
            f" {number(found.last_image_ms)} ms."
        ),
        (
            f"- A direct cache hit: {number(found.cache_hit_ms)} ms over gRPC, {number(found.cache_hit_rest_ms)} ms"
            f" through Envoy; {number(found.cache_hit_decoded_ms)} ms over gRPC for a file not seen before, which is"
            " decoded."
        ),
        f"- Cold start of the service to ready: {number(found.start_s)} s.",
        (
            f"- The service at rest holds {number(found.idle_mb)} MB; after 10,000 requests {number(found.grown_mb)} MB"
            " more than after 2,000."
        ),
    ]


def _engine(found: Sequence[Rate]) -> list[str]:
    if not found:
        return ["The engine is not installed here."]
    sizes = list(dict.fromkeys(each.size for each in found))
    table = {(each.model, each.size): each.per_core_second for each in found}
    return [
        f"| model | {' | '.join(map(str, sizes))} |",
        f"|---|{'---|' * len(sizes)}",
        *(
            f"| {model} | {' | '.join(number(table[model, size]) for size in sizes)} |"
            for model in dict.fromkeys(each.model for each in found)
        ),
    ]


def _plot(samples: Sequence[Sample], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(each.contender for each in samples))
    counts = sorted({each.clients for each in samples})
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 0.5 * len(names) * len(counts) + 1.5), layout="constrained")
    for axis, what, title in zip(
        axes,
        ("per_second", "cpu_ms"),
        ("requests a second (more is better)", "CPU ms a request (less is better)"),
        strict=True,
    ):
        for place, count in enumerate(counts):
            found = [spread(samples, name, count, what) for name in names]
            axis.barh(
                [row + 0.4 * place for row in range(len(names))],
                [each.median for each in found],
                height=0.38,
                xerr=[[each.median - each.least for each in found], [each.most - each.median for each in found]],
                label=f"{count} clients",
                capsize=2,
            )
        axis.set_yticks([row + 0.2 for row in range(len(names))], names)
        axis.invert_yaxis()
        axis.set_title(title)
        axis.legend()
    figure.savefig(path)
    pyplot.close(figure)


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    system = f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    return f"{len(models)} processors ({models[0]}), {system}"
