"""Models and forms of vendors' APIs beyond the first of each, against their doubles.

What holds for all vendors (``test_doubles.py``) is tried there with one model of each.
"""

from __future__ import annotations

import io
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from doubles_server import doubles, doubles_process  # noqa: F401  # fixtures
from live_exchange import LiveExchange, open_exchange, photo
from PIL import Image

from service.core.calls import ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import EncodedImage, ImageFormat, Size
from tests.doubles import bedrock
from tests.doubles.server import DoublesServer

SOURCE = photo(384, 256)
SD35 = "stability.sd3-5-large-v1:0"


def noise(width: int, height: int) -> EncodedImage:
    """A picture that no format makes small."""
    file = io.BytesIO()
    Image.frombytes("RGB", (width, height), random.Random(7).randbytes(width * height * 3)).save(file, "PNG")
    return EncodedImage(file.getvalue(), ImageFormat.PNG, Size(width, height))


@dataclass(frozen=True, slots=True)
class Asked:
    """One call. ``size``: what comes out, where it is neither what was asked for nor what went in."""

    vendor: str
    call: ProviderCall
    size: Size | None = None

    def __str__(self) -> str:
        return f"{self.vendor}/{self.call.model}"


def asked(vendor: str, model: str, *, comes_out: Size | None = None, **more: Any) -> Asked:
    return Asked(vendor, replace(ProviderCall(model, SOURCE, prompt="Vary it."), **more), comes_out)


CALLS = (
    asked("gemini", "gemini-3.1-flash-image", comes_out=Size(1264, 848)),
    asked("gemini", "gemini-3.1-flash-image", size=Size(768, 1376)),
    asked("gemini", "gemini-3-pro-image", size=Size(2048, 2048)),
    asked("vertex", "gemini-3-pro-image", size=Size(1024, 1024), output_format=ImageFormat.JPEG),
    asked("bedrock", SD35, strength=0.4, seed=0, output_format=ImageFormat.JPEG),
    asked("bedrock", "stability.stable-image-style-guide-v1:0", strength=1.0, comes_out=Size(1216, 832)),
    asked("bedrock", "us.stability.stable-image-control-structure-v1:0", strength=0.0, seed=2**32 - 1),
    asked("bedrock", "stability.stable-image-control-sketch-v1:0", strength=0.5),
    asked("bedrock-signed", SD35, prompt=""),
    asked("bedrock-signed", "us.stability.stable-style-transfer-v1:0", prompt="", strength=0.0),
    asked("stability", "sd3.5-large", strength=0.3, seed=2**32 - 1, user="user-1"),
    asked("stability", "sd3.5-medium", output_format=ImageFormat.PNG),
    asked("stability", "stable-image-ultra", output_format=ImageFormat.JPEG),
    asked("stability", "control-structure", strength=0.3),
    asked("stability", "control-style", size=Size(1536, 640)),
    asked("stability", "control-style-transfer", prompt="", strength=0.0),
    asked("ideogram", "ideogram-v3", n=3, size=Size(1248, 832), strength=0.2, seed=2**32 - 1),
    asked("ideogram", "ideogram-v4", strength=1.0),
    asked("ideogram", "auto", n=2, strength=0.0, seed=7),
    asked("ideogram", "ideogram-4-5", n=2),
    asked("fal", "fal-ai/flux-2/edit", n=2, size=Size(1024, 768), seed=7, output_format=ImageFormat.PNG),
    asked("fal", "fal-ai/flux-2-pro/edit", size=Size(1024, 768)),
    asked("fal", "fal-ai/flux-1/dev/image-to-image", strength=0.4, comes_out=Size(1024, 768)),
    asked("fal-run", "fal-ai/flux-2/edit", size=Size(768, 768)),
    asked("replicate", "black-forest-labs/flux-dev", n=2, strength=0.4, seed=7, comes_out=Size(1024, 1024)),
    asked("replicate", "black-forest-labs/flux-kontext-pro", output_format=ImageFormat.PNG),
    asked("replicate", "black-forest-labs/flux-kontext-pro", size=Size(1392, 752), comes_out=Size(1344, 768)),
    asked("replicate", "google/nano-banana", comes_out=Size(1024, 1024)),
    asked("bfl", "flux-3-image", size=Size(1392, 752)),
    asked(
        "xai",
        "grok-imagine-image-2.0",
        n=2,
        quality="hd",
        user="user-1",
        size=Size(1024, 1024),
        comes_out=Size(1024, 1024),
    ),
    asked("recraft", "recraftv3", n=2, strength=0.3),
    asked("recraft", "recraftv4_1"),
)
ONE_OF_EACH = tuple({each.vendor: each for each in CALLS}.values())


@pytest.fixture
async def exchange(doubles: DoublesServer) -> AsyncIterator[LiveExchange]:  # noqa: F811  # the fixture by its name
    async with open_exchange(doubles) as opened:
        yield opened


@pytest.mark.parametrize("each", CALLS, ids=str)
async def test_what_comes_out_are_the_images_that_were_asked_for(each: Asked, exchange: LiveExchange) -> None:
    result = (await exchange.make(each.vendor, each.call)).result
    assert len({image.data for image in result.images}) == len(result.images) == each.call.n
    for image in result.images:
        with Image.open(io.BytesIO(image.data)) as opened:
            opened.load()
            assert Size(*opened.size) == (each.size or each.call.size or SOURCE.size)
            if each.call.output_format is not None:
                assert opened.format == each.call.output_format.name


@pytest.mark.parametrize("each", ONE_OF_EACH, ids=str)
async def test_a_field_that_the_vendor_does_not_know_is_refused(each: Asked, exchange: LiveExchange) -> None:
    is_google = each.vendor in ("gemini", "vertex")
    unknown = {"generationConfig": {"unheardOf": 1}} if is_google else {"unheard_of": 1}
    with pytest.raises(GatewayError) as caught:
        await exchange.make(each.vendor, replace(each.call, options=unknown))
    assert caught.value.kind is ErrorKind.UNSUPPORTED


async def test_a_signature_with_another_key_is_refused(exchange: LiveExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bedrock, "SECRET_ACCESS_KEY", "another-secret")
    with pytest.raises(GatewayError) as caught:
        await exchange.make("bedrock-signed")
    assert caught.value.kind is ErrorKind.UPSTREAM_AUTH


async def test_a_model_that_nobody_listed_is_asked_by_what_the_operator_says(exchange: LiveExchange) -> None:
    call = ProviderCall("somebody/single", SOURCE, prompt="Vary it.")
    result = (await exchange.make("fal-run", call, facts={"image_field": "image_url", "prompt": "required"})).result
    assert len(result.images) == 1
    # A fixed version: the double takes any for one of the model that takes a redux_image.
    call = replace(call, model="somebody/single:5599ed30703d")
    facts = {"image_field": "redux_image", "prompt": "required"}
    result = (await exchange.make("replicate", replace(call, prompt=""), facts=facts)).result
    assert len(result.images) == 1


@pytest.mark.parametrize("vendor", ["fal", "replicate"])
async def test_a_model_of_which_nobody_said_how_it_takes_the_source_is_never_asked(
    vendor: str, exchange: LiveExchange
) -> None:
    with pytest.raises(GatewayError, match=f"providers.{vendor}.models, 'somebody/model', image_field") as caught:
        await exchange.make(vendor, ProviderCall("somebody/model", SOURCE, prompt="Vary it."))
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    assert not caught.value.may_have_run
    assert not exchange.server.state.requests(vendor)


async def test_a_large_source_is_uploaded_to_replicate_and_not_shrunk(exchange: LiveExchange) -> None:
    large = noise(1600, 1200)
    assert len(large.data) > 1_500_000
    call = ProviderCall("black-forest-labs/flux-kontext-pro", large, prompt="Vary it.", output_format=ImageFormat.PNG)
    result = (await exchange.make("replicate", call)).result
    upload, submission = exchange.server.state.requests("replicate")[:2]
    assert upload.form is not None
    assert upload.form.files[0].data == large.data
    assert submission.json["input"]["input_image"].startswith(exchange.server.base_url("replicate") + "/files/")
    with Image.open(io.BytesIO(result.images[0].data)) as opened:
        assert Size(*opened.size) == large.size


async def test_an_option_that_is_refused_uploads_nothing(exchange: LiveExchange) -> None:
    call = ProviderCall(
        "black-forest-labs/flux-kontext-pro",
        photo(1600, 1200),
        prompt="Vary it.",
        options={"webhook": "https://x.test"},
    )
    with pytest.raises(GatewayError) as caught:
        await exchange.make("replicate", call)
    assert caught.value.kind is ErrorKind.INVALID_REQUEST
    assert not exchange.server.state.requests("replicate")
