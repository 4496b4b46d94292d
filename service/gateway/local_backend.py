"""The embedded engine as a backend: one job an image, on a pool of worker threads."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from service import engine
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Attempt, ImageFormat, Size
from service.gateway.backend import CallContext, CallReport
from service.imaging.decode import decode, flatten
from service.imaging.encode import encode_array
from service.imaging.inspect import ImageLimits
from service.providers.base import CallResult, ProducedImage, Profile, ProviderCall

# Sources are reduced to this many pixels on the longer side before they are analysed: the largest output is
# 1792 pixels, and a zoom uses a part of the source only.
LARGEST_SOURCE_SIDE = 2048
DEFAULT_STRENGTH = 0.5

Result = TypeVar("Result")


class WorkerPool:
    """Threads for work that keeps a core busy, at a lower priority than the event loop's thread."""

    def __init__(self, workers: int) -> None:
        self._executor: Executor = ThreadPoolExecutor(workers, "engine", initializer=_yield_to_event_loop)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Runs ``work``; when the awaiting task is cancelled before it began, it never does."""
        return await asyncio.wrap_future(self._executor.submit(work))

    def submit_and_forget(self, work: Callable[[], None]) -> None:
        self._executor.submit(work)

    def close(self) -> None:
        """Drops queued work and lets running work end."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _yield_to_event_loop() -> None:
    """Lowers this thread's priority, so that requests are answered while variations are being made."""
    if sys.platform == "linux":
        # On Linux a "process" here is a thread.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


class LocalBackend:
    """Makes variations with the embedded engine.

    ``provider_options.local.allow_flip`` (a boolean, true) lets subjects be mirrored.
    """

    def __init__(self, pool: WorkerPool, limits: ImageLimits) -> None:
        self._pool = pool
        self._limits = limits

    def unavailable(self, *, direct_key: bool = False) -> GatewayError | None:  # noqa: ARG002 - needs no key
        reason = engine.availability()
        if not reason:
            return None
        return GatewayError(ErrorKind.UNAVAILABLE, reason, code="engine_not_installed", may_have_run=False)

    def warm_up(self) -> None:
        """Compiles and loads the engine in the background, where it is installed."""
        if not engine.availability():
            self._pool.submit_and_forget(engine.warm_up)

    async def vary(self, call: ProviderCall, profile: Profile, context: CallContext) -> CallReport:  # noqa: ARG002
        allow_flip = _allow_flip(call)
        stop = threading.Event()
        images: dict[int, ProducedImage] = {}
        started = time.monotonic()
        seed = secrets.randbelow(2**32) if call.seed is None else call.seed
        try:
            source = await self._pool.run(lambda: self._analyse(call))
            size = call.size or engine.automatic_size(call.image.size)

            def make(index: int) -> ProducedImage:
                strength = DEFAULT_STRENGTH if call.strength is None else call.strength
                pixels = engine.vary(
                    source,
                    size,
                    model=call.model,
                    seed=seed,
                    index=index,
                    strength=strength,
                    allow_flip=allow_flip,
                    cancelled=stop.is_set,
                )
                return ProducedImage(data=encode_array(pixels, call.output_format or ImageFormat.PNG).data)

            async def one(index: int) -> None:
                images[index] = await self._pool.run(lambda: make(index))
                context.emit(index, images[index])

            async with asyncio.TaskGroup() as group:
                for index in range(call.n):
                    group.create_task(one(index))
        except BaseExceptionGroup as failures:
            error = _first(failures)
            context.record(self._attempt(call, started, error))
            raise error from None
        except GatewayError as error:
            context.record(self._attempt(call, started, error))
            raise
        finally:
            # Whatever ended the call, work still running for it is of no use to anyone.
            stop.set()
        context.record(self._attempt(call, started, None))
        made = tuple(images[index] for index in sorted(images))
        return CallReport(CallResult(made, cost_usd=0.0, deployment=call.model))

    def _analyse(self, call: ProviderCall) -> engine.Source:
        wanted = Size(LARGEST_SOURCE_SIDE, LARGEST_SOURCE_SIDE)
        image = flatten(decode(call.image.data, limits=self._limits, at_least=wanted))
        image.thumbnail((LARGEST_SOURCE_SIDE, LARGEST_SOURCE_SIDE))
        return engine.Source.analyse(np.asarray(image))

    def _attempt(self, call: ProviderCall, started: float, error: BaseException | None) -> Attempt:
        return Attempt(
            provider="local",
            model=call.model,
            key="",
            latency_ms=round((time.monotonic() - started) * 1000),
            outcome=_outcome(error),
        )


def _allow_flip(call: ProviderCall) -> bool:
    unknown = sorted(set(call.options) - {"allow_flip"})
    value = call.options.get("allow_flip", True)
    if unknown or not isinstance(value, bool):
        raise GatewayError(
            ErrorKind.INVALID_REQUEST,
            "provider_options.local takes one option, allow_flip, which is true or false.",
            code="invalid_provider_options",
            param="provider_options",
        )
    return value


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "success"
    return (error.kind if isinstance(error, GatewayError) else ErrorKind.INTERNAL).value


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    for failure in failures.exceptions:
        return _first(failure) if isinstance(failure, BaseExceptionGroup) else failure
    raise AssertionError("an exception group is never empty")
