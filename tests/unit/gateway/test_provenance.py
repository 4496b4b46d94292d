"""Statements in a provider's file of how its picture came to be are kept, or made anew, on every way to the caller."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certificate_chain import Chain, make_chain
from fake_backends import LIMITS, STANDARD_POLICY, FakeBackend, directory, links, makes, nothing_to_fetch, provider
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from service.cache.cache import ResultCache
from service.cache.cache_store import Bounds
from service.cache.sqlite_cache import SqliteCache
from service.concurrency.pools import ImagingPool
from service.core.values import NOTHING_SAID, ImageFormat, Provenance, ResponseFormat, Size, VariationRequest
from service.gateway.cache_step.fingerprints import Fingerprints
from service.gateway.cache_step.step import Caching
from service.gateway.cache_step.terms import CacheSettings
from service.gateway.delivery.finishing import Finisher
from service.gateway.gateway import Gateway, RequestContext
from service.gateway.outcome import FinishedImage, Outcome
from service.gateway.target_runner import TargetRunner
from service.imaging.marking import Marker
from service.imaging.provenance import DigitalSourceType, has_manifest, read_source_type, write_source_type
from service.imaging.provenance_c2pa import ManifestSigner, read_manifest

pytest.importorskip("c2pa", reason="the optional package c2pa-python is not installed")
FORMATS = [ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP]
GENERATED = "trainedAlgorithmicMedia"
UNTOUCHED = Provenance(("c2pa",), ("c2pa",))
SIZE = Size(256, 256)
Create = Callable[..., Any]


def file(image_format: ImageFormat, size: Size = SIZE, **options: Any) -> bytes:
    noise = np.random.default_rng(7).integers(0, 256, (8, 8, 3), np.uint8)
    written = io.BytesIO()
    Image.fromarray(noise).resize((size.width, size.height)).save(written, image_format.value, **options)
    return written.getvalue()


@pytest.fixture(scope="module")
def chain() -> Chain:
    return make_chain()


@pytest.fixture(scope="module")
def signed(chain: Chain) -> Callable[..., bytes]:
    """A provider's file with a manifest of the provider's."""
    return lambda found, **options: chain.provider.signer().sign(
        file(found, **options), found, DigitalSourceType.GENERATED
    )


@pytest.fixture
async def create(pool: ImagingPool, tmp_path: Path) -> AsyncIterator[Create]:
    """Asks a gateway with a cache for one variation; the provider answers with the file given."""
    cache = ResultCache(await SqliteCache.open(tmp_path / "cache.sqlite3", Bounds(10**8, 1000)))
    settings = CacheSettings(threshold=0.765, ttl_s=3600.0, default_prompt="Vary.")
    caching = Caching(cache, Fingerprints(pool, LIMITS), settings)

    async def ask(made: bytes, marker: Marker | None = None, **wishes: Any) -> Outcome:
        names = directory(provider("a", FakeBackend(makes(made))))
        gateway = Gateway(
            names,
            TargetRunner(names, pool, LIMITS, "Vary."),
            Finisher(pool, links(tmp_path / "results"), LIMITS, marker=marker),
            limits=LIMITS,
            fetch=nothing_to_fetch,
            policy=STANDARD_POLICY,
            caching=caching,
        )
        request = VariationRequest(
            **{"image": file(ImageFormat.PNG), "response_format": ResponseFormat.B64_JSON, **wishes}
        )
        deadline = asyncio.get_running_loop().time() + 30
        outcome = await gateway.create(request, RequestContext(deadline, "http://gateway.test"))
        await caching.settled()
        return outcome

    yield ask
    await cache.aclose()


def only(outcome: Outcome) -> FinishedImage:
    (image,) = outcome.images
    return image


def signing(chain: Chain) -> Marker:
    return Marker(signer=chain.operator.signer())


@pytest.mark.parametrize("found", FORMATS)
async def test_a_file_that_needs_no_change_keeps_its_bytes(create: Create, signed, chain: Chain, found) -> None:
    made = signed(found)
    image = only(await create(made, signing(chain), size=SIZE, output_format=found))
    assert image.data == made
    assert image.provenance == UNTOUCHED


async def test_so_does_one_whose_manifest_vouches_for_metadata(create: Create, signed, chain: Chain) -> None:
    text = PngInfo()
    text.add_text("Software", "the provider's")
    made = signed(ImageFormat.PNG, pnginfo=text)
    image = only(await create(made, signing(chain)))
    assert image.data == made
    manifest = read_manifest(image.data, ImageFormat.PNG, trust_anchors=chain.root)
    assert manifest is not None
    assert (manifest.state, manifest.generator) == ("Trusted", "provider")


@pytest.mark.parametrize("found", FORMATS)
@pytest.mark.parametrize("wanted", FORMATS)
async def test_a_file_that_is_changed_says_so_and_names_what_it_was_made_of(
    create: Create, signed, chain: Chain, found, wanted
) -> None:
    image = only(await create(signed(found), signing(chain), size=Size(512, 512), output_format=wanted))
    manifest = read_manifest(image.data, wanted, trust_anchors=chain.root)
    assert manifest is not None
    assert (manifest.state, manifest.generator, manifest.ingredients) == ("Trusted", "operator", 1)
    assert manifest.source_types == (GENERATED,)
    assert read_source_type(image.data, wanted) == GENERATED
    assert image.provenance == Provenance(("c2pa",), (), ("iptc", "c2pa"), GENERATED)


@pytest.mark.parametrize("wanted", FORMATS)
async def test_without_a_certificate_it_says_so_unsigned(create: Create, signed, wanted) -> None:
    image = only(await create(signed(ImageFormat.PNG), size=Size(512, 512), output_format=wanted))
    assert not has_manifest(image.data, wanted)
    assert read_source_type(image.data, wanted) == GENERATED
    assert image.provenance == Provenance(("c2pa",), (), ("iptc",), GENERATED)


async def test_where_marking_is_off_nothing_is_written_and_untouched_files_stay(create: Create, signed) -> None:
    made, off = signed(ImageFormat.PNG), Marker(enabled=False)
    assert only(await create(made, off)).data == made
    changed = only(await create(made, off, size=Size(512, 512)))
    assert read_source_type(changed.data, ImageFormat.PNG) == ""
    assert changed.provenance == Provenance(("c2pa",))


async def test_a_link_leads_to_the_same_bytes(create: Create, signed, tmp_path: Path) -> None:
    made = signed(ImageFormat.PNG)
    image = only(await create(made, response_format=ResponseFormat.URL))
    (stored,) = (tmp_path / "results").iterdir()
    assert image.url
    assert stored.read_bytes() == made
    assert image.provenance == UNTOUCHED


@pytest.mark.parametrize("size", [None, Size(512, 512)])
async def test_the_cache_serves_the_same_bytes_and_says_the_same(create: Create, signed, chain: Chain, size) -> None:
    made = signed(ImageFormat.PNG)
    first = await create(made, signing(chain), size=size)
    again = await create(b"nobody is asked", signing(chain), size=size)
    assert again.cache is not None
    assert again.cache.hit
    assert only(again) == only(first)
    assert only(again).provenance != NOTHING_SAID


@pytest.mark.parametrize("found", FORMATS)
async def test_a_stated_source_type_outlasts_the_removal_of_metadata(create: Create, found) -> None:
    made = write_source_type(file(found), found, DigitalSourceType.ENHANCED)
    kept = only(await create(made, size=SIZE, output_format=found))
    assert read_source_type(kept.data, found) == "algorithmicallyEnhanced"
    assert kept.provenance == Provenance(("iptc",), ("iptc",), (), "algorithmicallyEnhanced")
    changed = only(await create(made, size=Size(512, 512), output_format=found))
    assert read_source_type(changed.data, found) == "algorithmicallyEnhanced"


async def test_a_picture_is_no_photograph_because_its_file_says_so(create: Create) -> None:
    made = write_source_type(file(ImageFormat.PNG), ImageFormat.PNG, DigitalSourceType.ENHANCED)
    photograph = made.replace(b"algorithmicallyEnhanced", b"digitalCapture".ljust(23, b"/"))
    image = only(await create(photograph, size=Size(512, 512)))
    assert read_source_type(image.data, ImageFormat.PNG) == GENERATED


async def test_a_plain_file_passes_as_it_is_and_says_nothing(create: Create, chain: Chain) -> None:
    made = file(ImageFormat.PNG)
    image = only(await create(made, signing(chain)))
    assert image.data == made
    assert image.provenance == NOTHING_SAID


async def test_a_result_that_cannot_be_signed_is_delivered_unsigned(create: Create) -> None:
    broken = Marker(signer=ManifestSigner("no certificate", "no key, but secret"))
    image = only(await create(file(ImageFormat.PNG), broken, size=Size(512, 512)))
    assert image.provenance == Provenance((), (), ("iptc",), GENERATED)
