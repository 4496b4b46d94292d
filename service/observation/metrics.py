"""The metrics, and the events that they are made of.

Every label has a bounded set of values: a provider's and a model's name are the configured ones, anything else that a
caller may name is ``other``. Names follow Prometheus' conventions: base units, ``_total`` for counters.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

from service.core.calls import AttemptEnded
from service.core.errors import ErrorKind
from service.core.values import Target
from service.gateway.directory import Provider
from service.gateway.events import AttemptFailed, CacheConsulted, CallEnded, Event, ImageCompleted

OTHER: Final = "other"

# Images take from milliseconds (the cache) to minutes (queues of providers).
_DURATIONS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)
# The gateway's own part: a millisecond or two for a small image, tens for converting a large one.
_OVERHEAD_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

_REFUSALS: Mapping[ErrorKind, str] = {
    ErrorKind.UNAUTHENTICATED: "authentication",
    ErrorKind.PERMISSION_DENIED: "permission",
    ErrorKind.BUDGET_EXCEEDED: "budget",
    ErrorKind.RATE_LIMITED: "rate_limit",
}
_REFUSALS_BY_CODE: Mapping[str, str] = {"overloaded": "overload", "shutting_down": "shutting_down"}


class Metrics:
    """The metrics of one process, in a registry of their own. All methods are for the event loop's thread.

    Args:
        providers: By name, with the models that are listed.
    """

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = providers
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        target = ("provider", "model")

        def counter(name: str, meaning: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"image_variations_{name}", meaning, labels, registry=registry)

        def histogram(name: str, meaning: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
            return Histogram(f"image_variations_{name}", meaning, labels, buckets=buckets, registry=registry)

        self._requests = counter(
            "requests_total",
            "Calls that ended, by gRPC method, gRPC status and kind of caller.",
            ("method", "code", "caller"),
        )
        self._durations = histogram(
            "request_duration_seconds", "From a call's arrival to its answer.", _DURATIONS_S, ("method",)
        )
        self._overhead = histogram(
            "overhead_seconds",
            "The part of a successful variation's time in which no provider was at work.",
            _OVERHEAD_S,
        )
        self._received = counter("received_bytes_total", "Bytes of requests for variations.")
        self._sent = counter("sent_bytes_total", "Bytes of answers to requests for variations.")
        self._refusals = counter(
            "refusals_total", "Calls that were refused before any provider was asked, by reason.", ("reason",)
        )
        self._attempts = counter("attempts_total", "Attempts at a provider that ended.", (*target, "outcome"))
        self._attempt_durations = histogram(
            "attempt_duration_seconds",
            "Time of one attempt at a provider, polls and downloads included.",
            _DURATIONS_S,
            target,
        )
        self._fallbacks = counter(
            "fallbacks_total", "Times that a target failed and the next one was tried.", (*target, "outcome")
        )
        self._images = counter("images_total", "Images handed out, those from the cache included.", target)
        self._costs = counter(
            "cost_usd_total", "What successful attempts cost, where it is known, in US dollars.", (*target, "key")
        )
        self._lookups = counter("cache_lookups_total", "Look-ups in the result cache.", ("result",))
        self.event_loop_lag = histogram(
            "event_loop_lag_seconds", "How much later than due the event loop does what is due.", _LAG_S
        )
        Gauge(
            "image_variations_build_info",
            "Always 1; the labels tell what runs.",
            ("version", "python"),
            registry=registry,
        ).labels(_version(), platform.python_version()).set(1)
        # Shown from the start, so that the first increase is seen as one.
        for result in ("direct", "semantic", "miss"):
            self._lookups.labels(result)
        for reason in (*_REFUSALS.values(), *_REFUSALS_BY_CODE.values()):
            self._refusals.labels(reason)

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Adds a gauge that is read when it is asked for. ``value`` is called on another thread."""
        Gauge(f"image_variations_{name}", meaning, registry=self.registry).set_function(value)

    def happened(self, event: Event) -> None:
        """Takes an event of a request."""
        match event:
            case AttemptEnded():
                attempt = event.attempt
                names = self._names(attempt.provider, attempt.model)
                self._attempts.labels(*names, attempt.outcome).inc()
                self._attempt_durations.labels(*names).observe(attempt.latency_ms / 1000)
                if event.cost_usd:
                    self._costs.labels(*names, attempt.key).inc(event.cost_usd)
            case AttemptFailed() if event.next_target is not None:
                failed = event.attempt
                self._fallbacks.labels(*self._names(failed.provider, failed.model), failed.outcome).inc()
            case CacheConsulted():
                self._lookups.labels(event.hit_type or "miss").inc()
            case ImageCompleted():
                self._images.labels(*self._names(event.target.provider, event.target.model)).inc()

    def call_ended(self, call: CallEnded) -> None:
        """Takes the end of a call."""
        self._requests.labels(call.method, call.code, call.caller.value).inc()
        self._durations.labels(call.method).observe(call.seconds)
        self._received.inc(call.bytes_in)
        self._sent.inc(call.bytes_out)
        if call.error is None:
            if call.bytes_in and call.succeeded:
                self._overhead.observe(max(0.0, call.seconds - call.provider_seconds))
        elif not call.error.attempts and (
            reason := _REFUSALS_BY_CODE.get(call.error.code) or _REFUSALS.get(call.error.kind)
        ):
            self._refusals.labels(reason).inc()

    def _names(self, provider: str, model: str) -> tuple[str, str]:
        known = self._providers.get(provider)
        if known is None:
            return OTHER, OTHER
        return provider, model if model in known.profiles else OTHER


def _version() -> str:
    try:
        return metadata.version("image-variations-gateway")
    except metadata.PackageNotFoundError:
        return "unknown"


def known_targets(providers: Mapping[str, Provider]) -> tuple[Target, ...]:
    """Every listed model of every provider."""
    return tuple(Target(each.name, model) for each in providers.values() for model in each.profiles)
