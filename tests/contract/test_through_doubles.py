"""Google, Bedrock, Stability and Ideogram through the real executor and real sockets: what comes out are images."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
from PIL import Image

from service.core.errors import ErrorKind, GatewayError
from service.core.values import Attempt, EncodedImage, ImageFormat, Size
from service.providers import catalog
from service.providers.base import CallResult, Credential, Endpoint, ProviderCall
from service.providers.registry import TRANSLATORS
from service.transport.client import open_client
from service.transport.clock import SYSTEM_CLOCK
from service.transport.credentials import Credentials
from service.transport.exchange import Upstream
from service.transport.executor import Executor
from service.transport.fetch import ChosenBy, FetchPolicy, ImageFetcher
from tests.doubles import bedrock, gemini, ideogram, stability
from tests.doubles.server import DoublesServer


def photograph(width: int, height: int) -> EncodedImage:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(buffer, "PNG")
    return EncodedImage(buffer.getvalue(), ImageFormat.PNG, Size(width, height))


SOURCE = photograph(384, 256)


@dataclass(frozen=True, slots=True)
class Vendor:
    """One call to one double. ``size``: what comes out, where it is not what was asked for or what went in."""

    double: str
    call: ProviderCall
    size: Size | None = None
    provider: str = ""
    options: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.double}/{self.call.model}"


def call(model: str, **more: object) -> ProviderCall:
    return replace(ProviderCall(model, SOURCE, prompt="Vary it."), **more)


SIGNED = {
    "provider": "bedrock",
    "options": {"region": bedrock.REGION},
    "parts": {"access_key_id": bedrock.ACCESS_KEY_ID, "secret_access_key": bedrock.SECRET_ACCESS_KEY},
}
SD35 = "stability.sd3-5-large-v1:0"

VENDORS = (
    Vendor("gemini", call("gemini-3.1-flash-image"), size=Size(1264, 848)),
    Vendor("gemini", call("gemini-3.1-flash-image", size=Size(768, 1376))),
    Vendor("gemini", call("gemini-3-pro-image", size=Size(2048, 2048))),
    Vendor(
        "vertex",
        call("gemini-2.5-flash-image", size=Size(1024, 1024), output_format=ImageFormat.JPEG),
        options={"project": "p"},
    ),
    Vendor("bedrock", call(SD35, strength=0.4, seed=0, output_format=ImageFormat.JPEG)),
    Vendor("bedrock", call("stability.stable-image-style-guide-v1:0", strength=1.0), size=Size(1216, 832)),
    Vendor("bedrock", call("us.stability.stable-image-control-structure-v1:0", strength=0.0, seed=2**32 - 1)),
    Vendor("bedrock-signed", call(SD35, prompt=""), **SIGNED),
    Vendor("bedrock-signed", call("us.stability.stable-style-transfer-v1:0", prompt="", strength=0.0), **SIGNED),
    Vendor("stability", call("sd3.5-large", strength=0.3, seed=2**32 - 1, user="user-1")),
    Vendor("stability", call("stable-image-ultra", output_format=ImageFormat.JPEG)),
    Vendor("stability", call("control-structure", strength=0.3)),
    Vendor("stability", call("control-style", size=Size(1536, 640))),
    Vendor("stability", call("control-style-transfer", prompt="", strength=0.0)),
    Vendor("ideogram", call("ideogram-v3", n=3, size=Size(1248, 832), strength=0.2, seed=2**32 - 1)),
    Vendor("ideogram", call("ideogram-v4", strength=1.0)),
    Vendor("ideogram", call("auto", n=2, strength=0.0, seed=7)),
    Vendor("ideogram", call("ideogram-4", n=2, options={"async": True})),
)
ONE_OF_EACH = tuple({vendor.double: vendor for vendor in VENDORS}.values())

Run = Callable[..., Awaitable[CallResult]]


@pytest.fixture(scope="module")
def server() -> Iterator[DoublesServer]:
    with DoublesServer((*gemini.DOUBLES, *bedrock.DOUBLES, *stability.DOUBLES, *ideogram.DOUBLES)) as running:
        yield running


@pytest.fixture
async def run(server: DoublesServer) -> AsyncIterator[Run]:
    """Makes the call of a vendor. No key may have been seen where it does not belong."""
    server.state.reset()
    client, fetcher = open_client(), ImageFetcher()
    policy = FetchPolicy(allowed_origins=frozenset({server.url}))
    fetch = partial(fetcher.fetch_image_url, policy=policy, chosen_by=ChosenBy.PROVIDER)

    slept: list[float] = []

    async def skip(seconds: float) -> None:
        """Waits take no time, but the clock moves on by them: the doubles count polls, not seconds."""
        slept.append(seconds)

    clock = replace(SYSTEM_CLOCK, now=lambda: SYSTEM_CLOCK.now() + sum(slept), sleep=skip)
    executor = Executor(client, fetch, clock=clock)

    async def made(vendor: Vendor, *, key: str = "") -> CallResult:
        entry = catalog.load()[vendor.provider or vendor.double]
        endpoint = Endpoint(entry.name, server.base_url(vendor.double), options={**entry.options, **vendor.options})
        secret = "" if vendor.parts else key or server.state.doubles[vendor.double].accepted_keys[0]
        parts = {**vendor.parts, "secret_access_key": key} if key and vendor.parts else vendor.parts
        upstream = Upstream(
            TRANSLATORS[entry.translator], endpoint, Credentials.only(Credential("main", secret, parts))
        )
        attempts: list[Attempt] = []
        profile = catalog.profile(entry, vendor.call.model)
        deadline = clock.now() + 60
        outcome = await executor.run(upstream, vendor.call, profile, deadline=deadline, record=attempts.append)
        return outcome.result

    yield made
    await executor.aclose()
    await client.aclose()
    await fetcher.aclose()
    assert not server.state.leaks


@pytest.mark.parametrize("vendor", VENDORS, ids=str)
async def test_what_comes_out_are_the_images_that_were_asked_for(vendor: Vendor, run: Run) -> None:
    result = await run(vendor)
    assert len(result.images) == vendor.call.n
    assert len({image.data for image in result.images}) == vendor.call.n
    for image in result.images:
        with Image.open(io.BytesIO(image.data)) as opened:
            opened.load()
            assert Size(*opened.size) == (vendor.size or vendor.call.size or SOURCE.size)
            if vendor.call.output_format is not None:
                assert opened.format == vendor.call.output_format.name


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        ("unauthenticated", ErrorKind.UPSTREAM_AUTH),
        ("payment_required", ErrorKind.UPSTREAM_AUTH),
        ("forbidden", ErrorKind.UPSTREAM_AUTH),
        ("model_gone", ErrorKind.MODEL_GONE),
        ("server_error", ErrorKind.UNAVAILABLE),
        ("overloaded", ErrorKind.UNAVAILABLE),
        ("malformed_json", ErrorKind.BAD_RESPONSE),
        ("truncated_json", ErrorKind.BAD_RESPONSE),
        ("empty_result", ErrorKind.BAD_RESPONSE),
        ("refusal", ErrorKind.CONTENT_REJECTED),
    ],
)
@pytest.mark.parametrize("vendor", ONE_OF_EACH, ids=str)
async def test_every_failure_is_what_it_is(
    vendor: Vendor, failure: str, kind: ErrorKind, run: Run, server: DoublesServer
) -> None:
    server.state.fail(vendor.double, failure)
    with pytest.raises(GatewayError) as caught:
        await run(vendor)
    assert caught.value.kind is kind


@pytest.mark.parametrize("vendor", ONE_OF_EACH, ids=str)
async def test_a_wrong_key_is_the_keys_fault(vendor: Vendor, run: Run, server: DoublesServer) -> None:
    with pytest.raises(GatewayError) as caught:
        await run(vendor, key="wrong")
    assert caught.value.kind is ErrorKind.UPSTREAM_AUTH


@pytest.mark.parametrize("vendor", ONE_OF_EACH, ids=str)
async def test_a_rate_limit_that_says_when_is_waited_for(vendor: Vendor, run: Run, server: DoublesServer) -> None:
    server.state.fail(vendor.double, "rate_limited", hint="retry-after", seconds=1, times=1)
    assert len((await run(vendor)).images) == vendor.call.n


async def test_an_image_of_several_that_is_refused_leaves_the_others(run: Run, server: DoublesServer) -> None:
    server.state.fail("ideogram", "partial_refusal")
    result = await run(Vendor("ideogram", call("ideogram-v3", n=3)))
    assert len(result.images) == 2
    assert result.warnings == ("The provider refused 1 of 3 images.",)


@pytest.mark.parametrize("vendor", ONE_OF_EACH, ids=str)
async def test_a_field_that_the_vendor_does_not_know_is_refused(vendor: Vendor, run: Run) -> None:
    unknown = {"generationConfig": {"unheardOf": 1}} if vendor.double in ("gemini", "vertex") else {"unheard_of": 1}
    with pytest.raises(GatewayError) as caught:
        await run(replace(vendor, call=replace(vendor.call, options=unknown)))
    assert caught.value.kind is ErrorKind.UNSUPPORTED
