"""Makes real calls to the doubles: our translators and executor, on real sockets, without waiting between polls."""

from __future__ import annotations

import asyncio
import functools
import io
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from heard import Heard
from PIL import Image

from service.catalog import catalog
from service.catalog.profile import PromptRule
from service.concurrency.tasks import started
from service.core.calls import ProviderCall
from service.core.values import Attempt, EncodedImage, ImageFormat, Size
from service.providers.base import Credential, Endpoint
from service.providers.registry import TRANSLATORS
from service.routing.retry import RetryPolicy
from service.transport.client import open_client
from service.transport.clock import Clock
from service.transport.credentials import Credentials, WeightedCredential
from service.transport.executor import Executor
from service.transport.fetch import ChosenBy, FetchPolicy, ImageFetcher
from service.transport.resolving import SystemResolver
from service.transport.upstream import CallOutcome, ExchangeSettings, Upstream
from tests.doubles.framework import VendorDouble
from tests.doubles.server import DoublesServer

# Nothing here speaks TLS, and to load the public authorities for every test takes a tenth of a second.
_TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@functools.cache
def photo(width: int = 320, height: int = 320) -> EncodedImage:
    """A colourful PNG that every vendor's limits allow."""
    gradient = Image.merge("RGB", [Image.linear_gradient("L").rotate(turn) for turn in (0, 90, 180)])
    buffer = io.BytesIO()
    gradient.resize((width, height)).save(buffer, "PNG")
    return EncodedImage(buffer.getvalue(), ImageFormat.PNG, Size(width, height))


def call_for(double: VendorDouble) -> ProviderCall:
    """A call that uses every knob that the catalog says the double's example model has."""
    entry = catalog.load()[double.provider or double.name]
    profile = catalog.profile(entry, double.model)
    size = None if profile.output_follows_input else (profile.sizes or (Size(1024, 768),))[0]
    return ProviderCall(
        double.model,
        photo(),
        n=min(2, profile.max_n),
        size=size,
        prompt="" if profile.prompt is PromptRule.NONE else "Vary it.",
        strength=0.5 if profile.strength else None,
        seed=7 if profile.seed else None,
        output_format=profile.output_formats[0] if profile.output_formats else None,
    )


@dataclass(slots=True)
class LiveExchange:
    """An executor that talks to the doubles.

    Attributes:
        waits: Every wait, in seconds, that it would have made.
        heard: Everything that it told.
    """

    server: DoublesServer
    executor: Executor
    waits: list[float] = field(default_factory=list)
    heard: Heard = field(default_factory=Heard)

    @property
    def attempts(self) -> list[Attempt]:
        return self.heard.attempts

    async def make(
        self,
        vendor: str,
        call: ProviderCall | None = None,
        *,
        keys: int = 1,
        settings: ExchangeSettings | None = None,
        options: Mapping[str, str] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> CallOutcome:
        """One call to a vendor's double with the first ``keys`` of its keys; raises as ``Executor.run``.

        Args:
            facts: What an operator says of the model in the configuration.
        """
        double = self.server.state.doubles[vendor]
        entry = catalog.load()[double.provider or double.name]
        call = call or call_for(double)
        upstream = Upstream(
            TRANSLATORS[entry.translator],
            Endpoint(
                vendor,
                self.server.base_url(vendor),
                entry.trusted_hosts,
                {**entry.options, **double.options, **(options or {})},
            ),
            Credentials([WeightedCredential(credential) for credential in _credentials(double)[:keys]]),
            settings or ExchangeSettings(retry=RetryPolicy(max_retries=0)),
        )
        deadline = asyncio.get_running_loop().time() + 120
        profile = catalog.profile(entry, call.model, facts or {})
        return await self.executor.run(upstream, call, profile, deadline=deadline, emit=self.heard)

    async def cancelled(self, vendor: str, call: ProviderCall, *, options: Mapping[str, str] | None = None) -> None:
        """Starts a call whose first poll is never answered, and gives it up while it waits for that."""
        self.server.state.fail(vendor, "hang", on="poll")
        making = started(self.make(vendor, call, options=options))
        while not any(request.method == "GET" for request in self.server.state.requests(vendor)):  # noqa: ASYNC110
            # The log belongs to the server's thread, which has no event of ours to set.
            await asyncio.sleep(0.01)
        making.cancel()
        with suppress(asyncio.CancelledError):
            await making
        await self.executor.aclose()


def _credentials(double: VendorDouble) -> list[Credential]:
    if double.key_parts:
        return [Credential("one", parts=double.key_parts)]
    return [Credential(f"key-{place}", secret) for place, secret in enumerate(double.accepted_keys, 1)]


@asynccontextmanager
async def open_exchange(server: DoublesServer) -> AsyncIterator[LiveExchange]:
    """An executor for one test; nothing that it opens outlives the block."""
    fetcher = ImageFetcher(resolver=SystemResolver(), ssl_context=_TRUSTS_NOBODY)
    policy = FetchPolicy(allowed_origins=frozenset({server.url}))
    waits: list[float] = []

    def now() -> float:
        return asyncio.get_running_loop().time() + sum(waits)

    async def note_and_go_on(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    async def fetch(url: str) -> bytes:
        return await fetcher.fetch_image_url(url, policy=policy, chosen_by=ChosenBy.PROVIDER)

    async with open_client(ssl_context=_TRUSTS_NOBODY) as client:
        executor = Executor(client, fetch, clock=Clock(now, note_and_go_on))
        try:
            yield LiveExchange(server, executor, waits)
        finally:
            await executor.aclose()
            await fetcher.aclose()
