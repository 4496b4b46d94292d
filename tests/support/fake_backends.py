"""Backends that do as a test tells them, and a gateway over them with real imaging and a real store."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from PIL import Image

from service.catalog.profile import Profile
from service.concurrency.pools import ImagingPool
from service.core.calls import AttemptEnded, CallResult, ImageProduced, ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Attempt, Usage
from service.gateway.backends.base import Backend, CallContext, CallReport
from service.gateway.delivery.finishing import Finisher
from service.gateway.delivery.links import Links
from service.gateway.directory import Alias, Directory, Provider
from service.gateway.gateway import FetchImage, Gateway, RequestContext
from service.gateway.target_runner import TargetRunner
from service.imaging.inspect import ImageLimits
from service.imaging.local_results import LocalImageStore
from service.imaging.signing import LinkSigner
from service.routing.route import RoutePolicy

LIMITS = ImageLimits()
BASE_URL = "http://gateway.test"
STANDARD_POLICY = RoutePolicy()

Behaviour = Callable[[ProviderCall, CallContext], Awaitable[CallReport]]


def png(width: int = 64, height: int = 48, colour: tuple[int, int, int] = (200, 40, 40)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


def pixel(data: bytes) -> tuple[int, ...]:
    """The top left pixel, which tells the images of a test apart."""
    with Image.open(io.BytesIO(data)) as image:
        corner = image.convert("RGB").getpixel((0, 0))
    assert isinstance(corner, tuple)
    return tuple(int(channel) for channel in corner)


def recorded(call: ProviderCall, context: CallContext, outcome: str = "success", status: int | None = None) -> None:
    context.emit(AttemptEnded(Attempt("fake", call.model, "main", 5, outcome, status)))


def makes(*images: bytes, cost_usd: float | None = None, usage: Usage | None = None) -> Behaviour:
    """Succeeds with these images; without any, with as many as are asked for."""

    async def behave(call: ProviderCall, context: CallContext) -> CallReport:
        produced = tuple(ProducedImage(data=data) for data in images or [png()] * call.n)
        for position, image in enumerate(produced):
            context.emit(ImageProduced(position, image))
            # Real backends are on the network between two images.
            await asyncio.sleep(0)
        recorded(call, context)
        return CallReport(CallResult(produced, usage=usage, cost_usd=cost_usd))

    return behave


def fails(
    kind: ErrorKind,
    message: str = "It failed.",
    *,
    after: Sequence[bytes] = (),
    record: bool = True,
    usage: Usage | None = None,
    cost_usd: float | None = None,
) -> Behaviour:
    """Fails, perhaps after it has made some images, and perhaps for money."""

    async def behave(call: ProviderCall, context: CallContext) -> CallReport:
        for position, data in enumerate(after):
            context.emit(ImageProduced(position, ProducedImage(data=data)))
        if record:
            recorded(call, context, kind.value)
        raise GatewayError(kind, message, usage=usage, cost_usd=cost_usd)

    return behave


@dataclass
class Hangs:
    """Never answers. Knows whether it was begun with and whether it was stopped."""

    after: Sequence[bytes] = ()
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, call: ProviderCall, context: CallContext) -> CallReport:
        for position, data in enumerate(self.after):
            context.emit(ImageProduced(position, ProducedImage(data=data)))
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()
        raise AssertionError("nothing sets that event")


class FakeBackend:
    """A backend that behaves as told for each call in turn, and in the last way for all that follow."""

    def __init__(self, *behaviours: Behaviour, unavailable: GatewayError | None = None) -> None:
        self._behaviours = list(behaviours) or [makes()]
        self._unavailable = unavailable
        self.calls: list[ProviderCall] = []
        self.contexts: list[CallContext] = []
        self.tries: list[GatewayError | None] = []
        self.running = 0
        self.most_running = 0

    def unavailable(self, *, direct_key: bool = False) -> GatewayError | None:
        return None if direct_key else self._unavailable

    def admit(self, model: str) -> GatewayError | None:
        return None

    def tried(self, model: str, failure: GatewayError | None) -> None:
        self.tries.append(failure)

    async def vary(self, call: ProviderCall, profile: Profile, context: CallContext) -> CallReport:
        behave = self._behaviours[min(len(self.calls), len(self._behaviours) - 1)]
        self.calls.append(call)
        self.contexts.append(context)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            # Every real one waits for something.
            await asyncio.sleep(0)
            return await behave(call, context)
        finally:
            self.running -= 1


def provider(
    name: str,
    backend: Backend,
    profile: Profile | None = None,
    *,
    concurrency: int | None = None,
    allow_raw: bool = False,
) -> Provider:
    """A provider with one model, ``m``."""
    profile = profile or Profile(max_n=10)
    return Provider(name, backend, {"m": profile}, concurrency=concurrency, allow_raw=allow_raw)


def directory(
    *providers: Provider,
    aliases: Mapping[str, Alias] | None = None,
    default_route: str = "",
    unconfigured: Mapping[str, str] | None = None,
    draw: Callable[[], float] = lambda: 0.5,
) -> Directory:
    first = f"{providers[0].name}/m" if providers else ""
    return Directory(providers, aliases or {}, default_route or first, unconfigured or {}, draw)


async def nothing_to_fetch(url: str) -> bytes:
    raise AssertionError(f"nothing was to be fetched, but {url} was")


def links(place: Path) -> Links:
    lifetime = timedelta(minutes=60)
    return Links(LocalImageStore(place, lifetime=lifetime), LinkSigner(b"s" * 32), lifetime=lifetime)


def make_gateway(
    names: Directory,
    pool: ImagingPool,
    place: Path,
    *,
    fetch: FetchImage = nothing_to_fetch,
    policy: RoutePolicy = STANDARD_POLICY,
) -> Gateway:
    return Gateway(
        names,
        TargetRunner(names, pool, LIMITS, "Keep the subject."),
        Finisher(pool, links(place), LIMITS),
        limits=LIMITS,
        fetch=fetch,
        policy=policy,
    )


def request_context(seconds: float = 30.0, direct_key: str = "") -> RequestContext:
    return RequestContext(asyncio.get_running_loop().time() + seconds, BASE_URL, direct_key)
