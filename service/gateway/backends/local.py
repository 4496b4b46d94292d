"""The embedded engine as a backend: one job an image, on a pool of worker threads."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from service import engine
from service.catalog.profile import Profile
from service.concurrency.pools import OverloadedError, WorkerPool
from service.concurrency.tasks import all_of
from service.core.calls import AttemptEnded, CallResult, ImageProduced, ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import SUCCESS, Attempt, ImageFormat
from service.gateway.backends.base import CallContext, CallReport
from service.gateway.backends.pace import Pace
from service.imaging.decode import decode
from service.imaging.encode import encode_array
from service.imaging.inspect import ImageLimits, decode_cost, inspect
from service.imaging.provenance import DigitalSourceType, write_source_type
from service.imaging.resize import fit_within, size_within

_log = logging.getLogger("service.engine")

# Sources are reduced to this many pixels on the longer side before they are analysed: the largest output is
# 1792 pixels, and a zoom uses a part of the source only.
LARGEST_SOURCE_SIDE = 2048
DEFAULT_STRENGTH = 0.5
# Analysis works on a reduced source, so that its time hardly depends on the source's size.
_SOURCE_PIXELS = 1_000_000
_ANALYSING = "analysis"

Result = TypeVar("Result")


class LocalBackend:
    """Makes variations with the embedded engine; ``LocalOptions`` says what ``provider_options.local`` may ask for."""

    def __init__(self, pool: WorkerPool, limits: ImageLimits) -> None:
        self._pool = pool
        self._limits = limits
        self._pace = Pace()

    def unavailable(self, *, direct_key: bool = False) -> GatewayError | None:  # noqa: ARG002 - needs no key
        reason = engine.availability()
        if not reason:
            return None
        return GatewayError(ErrorKind.UNAVAILABLE, reason, code="engine_not_installed", may_have_run=False)

    def admit(self, model: str) -> GatewayError | None:  # noqa: ARG002 - nothing that fails here gets better by a rest
        return None

    def tried(self, model: str, failure: GatewayError | None) -> None:
        pass

    def warm_up(self) -> None:
        """Compiles and loads the engine in the background, where it is installed."""
        if not engine.availability():
            self._pool.in_background(engine.warm_up)

    async def vary(self, call: ProviderCall, profile: Profile, context: CallContext) -> CallReport:  # noqa: ARG002
        started = time.monotonic()
        try:
            async with asyncio.timeout_at(min(context.deadline, context.turn_ends)) as patience:
                report = await self._make(call, context)
        except TimeoutError as late:
            if not patience.expired():
                context.emit(_ended(call, started, ErrorKind.INTERNAL.value))
                raise
            by_deadline = context.deadline <= context.turn_ends
            kind = ErrorKind.DEADLINE_EXCEEDED if by_deadline else ErrorKind.TIME_SHARE_USED
            context.emit(_ended(call, started, kind.value))
            whose = "The request's time" if by_deadline else "The engine's share of the request's time"
            raise GatewayError(kind, f"{whose} ran out before the variations were made.") from late
        except BaseException as error:
            context.emit(_ended(call, started, _outcome(error)))
            raise
        context.emit(_ended(call, started, SUCCESS))
        return report

    async def _make(self, call: ProviderCall, context: CallContext) -> CallReport:
        """Makes and emits every image of a call."""
        ends = min(context.deadline, context.turn_ends)
        options = read_options(call.options)
        stop = threading.Event()
        seed = secrets.randbelow(2**32) if call.seed is None else call.seed
        strength = DEFAULT_STRENGTH if call.strength is None else call.strength
        size = call.size or engine.automatic_size(call.image.size)
        analysing_s = self._pace.expected_s(_ANALYSING, _SOURCE_PIXELS)
        making_s = self._pace.expected_s(call.model, size.pixels)
        self._refuse_if_late(ends, analysing_s + call.n * making_s)
        try:
            source = await self._pool.run(
                self._pace.measured(_ANALYSING, _SOURCE_PIXELS, lambda: self._analyse(call)),
                deadline=ends,
                cost_s=analysing_s,
                decoded_bytes=self._analysis_cost(call),
            )

            def make(index: int) -> ProducedImage:
                pixels = engine.vary(
                    source,
                    size,
                    model=call.model,
                    seed=seed,
                    index=index,
                    strength=strength,
                    allow_flip=options.allow_flip,
                    idea=options.idea,
                    style=options.style,
                    cancelled=stop.is_set,
                )
                encoded = encode_array(pixels, call.output_format or ImageFormat.PNG)
                # The caller's picture is altered by algorithms: the networks in the engine find things and sharpen what
                # they enlarge, and generate nothing.
                return ProducedImage(data=write_source_type(encoded.data, encoded.format, DigitalSourceType.ENHANCED))

            async def one(index: int) -> ProducedImage:
                image = await self._pool.run(
                    self._pace.measured(call.model, size.pixels, lambda: make(index)),
                    deadline=ends,
                    cost_s=making_s,
                )
                context.emit(ImageProduced(index, image))
                return image

            made = await all_of(one(index) for index in range(call.n))
        finally:
            # The call has ended, for any reason: work still running for it is of no use.
            stop.set()
        return CallReport(CallResult(tuple(made), cost_usd=0.0, deployment=call.model))

    def _refuse_if_late(self, deadline: float, cost_s: float) -> None:
        """Refuses at once what cannot be finished in time, so that it keeps nothing else waiting."""
        try:
            self._pool.refuse_if_late(deadline, cost_s)
        except OverloadedError as overloaded:
            raise GatewayError(
                ErrorKind.RATE_LIMITED,
                "The embedded engine has too much to do to make these variations in the time that the request allows.",
                code="overloaded",
                retry_after_s=overloaded.retry_after_s,
                may_have_run=False,
            ) from None

    def _analysis_cost(self, call: ProviderCall) -> int:
        """The bytes of memory that decoding the source takes; its analysis takes less."""
        facts = inspect(call.image.data, limits=self._limits)
        reduced = size_within(facts.size, max_side=LARGEST_SOURCE_SIDE, max_pixels=LARGEST_SOURCE_SIDE**2)
        return decode_cost(facts, len(call.image.data), output=reduced)

    def _analyse(self, call: ProviderCall) -> engine.Source:
        picture = decode(call.image.data, limits=self._limits)
        reduced = fit_within(picture, max_side=LARGEST_SOURCE_SIDE, max_pixels=LARGEST_SOURCE_SIDE**2)
        return engine.Source.analyse(reduced.array())


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """``provider_options.local``.

    Attributes:
        allow_flip: Whether half of the images may be mirrored; what shows faces or text never is.
        idea: What all images of ``vary`` are about; by default each has another.
        style: The style of all images of ``restyle``; by default each has another.
    """

    allow_flip: bool = False
    idea: str | None = None
    style: str | None = None


_NAMES = {"idea": engine.IDEAS, "style": engine.STYLES}


def read_options(options: Mapping[str, Any]) -> LocalOptions:
    """The options of a request.

    Raises:
        GatewayError: INVALID_REQUEST, for an option or a value that there is not.
    """
    for name, value in options.items():
        if name == "allow_flip":
            if not isinstance(value, bool):
                raise _wrong(f"provider_options.local.{name} must be true or false.")
        elif name in _NAMES:
            if value not in _NAMES[name]:
                raise _wrong(f"provider_options.local.{name} must be one of {', '.join(_NAMES[name])}.")
        else:
            known = ", ".join(("allow_flip", *_NAMES))
            raise _wrong(f"provider_options.local has no option {name!r}; it has {known}.")
    return LocalOptions(**options)


def _wrong(message: str) -> GatewayError:
    return GatewayError(ErrorKind.INVALID_REQUEST, message, code="invalid_provider_options", param="provider_options")


def _ended(call: ProviderCall, started: float, outcome: str) -> AttemptEnded:
    attempt = Attempt(
        provider="local",
        model=call.model,
        key="",
        latency_ms=round((time.monotonic() - started) * 1000),
        outcome=outcome,
    )
    return AttemptEnded(attempt)


def _outcome(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return ErrorKind.CANCELLED.value
    return (error.kind if isinstance(error, GatewayError) else ErrorKind.INTERNAL).value
