"""A fingerprint is taken once a file, and leaves no pixels behind."""

from __future__ import annotations

import asyncio
import gc
import io
from typing import Any

import numpy as np
import pytest
from fake_backends import LIMITS
from PIL import Image

from service.cache.digests import pixel_digest
from service.concurrency.pools import ImagingPool
from service.concurrency.tasks import ended, started
from service.core.errors import GatewayError
from service.gateway.cache_step import fingerprints
from service.gateway.cache_step.fingerprints import Fingerprints
from service.imaging.decode import decode
from service.imaging.perceptual_key import perceptual_key
from service.imaging.picture import Picture


def encoded(pixels: np.ndarray[Any, np.dtype[np.uint8]], image_format: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, image_format)
    return file.getvalue()


PIXELS = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
FILE = encoded(PIXELS)


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every file that is really decoded."""
    seen: list[int] = []

    def counted(data: bytes, **options: Any) -> Picture:
        seen.append(len(data))
        return decode(data, **options)

    monkeypatch.setattr(fingerprints, "decode", counted)
    return seen


async def test_identical_files_at_once_are_decoded_once(pool: ImagingPool, decodes: list[int]) -> None:
    prints = Fingerprints(pool, LIMITS)
    taken = await asyncio.gather(*(prints.of(bytes(FILE)) for _ in range(12)))
    assert len(decodes) == 1
    assert all(each is taken[0] for each in taken)
    await prints.of(FILE)
    assert len(decodes) == 1


async def test_no_picture_outlives_its_fingerprint(pool: ImagingPool) -> None:
    prints = Fingerprints(pool, LIMITS)
    large = encoded(np.zeros((1500, 1501, 4), np.uint8), "WEBP")
    kept = await asyncio.gather(*(prints.of(file) for file in (large, FILE)))
    gc.collect()
    assert kept[0].aspect == 1501 / 1500
    # By type: a weak reference to an object that is gone cannot be asked for its class.
    assert not [each for each in gc.get_objects() if issubclass(type(each), Image.Image) and each.size == (1501, 1500)]


async def test_when_the_first_who_asked_leaves_the_others_get_it(pool: ImagingPool, decodes: list[int]) -> None:
    prints = Fingerprints(pool, LIMITS)
    asking = [started(prints.of(FILE)) for _ in range(3)]
    await asyncio.sleep(0)
    await ended(asking[:1])
    assert (await asking[1]).pixels == (await asking[2]).pixels == pixel_digest(PIXELS)
    assert len(decodes) == 1


async def test_a_damaged_file_fails_for_each_with_an_error_of_its_own(pool: ImagingPool) -> None:
    prints = Fingerprints(pool, LIMITS)
    damaged = FILE[: len(FILE) // 2]
    errors = await asyncio.gather(*(prints.of(damaged) for _ in range(3)), return_exceptions=True)
    assert [error.code for error in errors if isinstance(error, GatewayError)] == ["invalid_image"] * 3
    assert len({id(error) for error in errors}) == 3


@pytest.mark.parametrize("size", [(64, 64), (65, 2000), (2000, 1301), (3000, 63), (10, 10)], ids=str)
@pytest.mark.parametrize("channels", [3, 4])
async def test_strip_by_strip_it_is_that_of_the_whole_picture(
    pool: ImagingPool, size: tuple[int, int], channels: int
) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (*size, channels), np.uint8)
    taken = await Fingerprints(pool, LIMITS).of(encoded(pixels))
    on_white = Image.new("RGB", size[::-1], (255, 255, 255))
    image = Image.fromarray(pixels)
    on_white.paste(image, mask=image.getchannel("A") if channels == 4 else None)
    whole = perceptual_key(np.asarray(on_white))
    assert taken.pixels == pixel_digest(pixels)
    assert taken.look.key == whole.key
    assert np.array_equal(taken.look.layout, whole.layout)
