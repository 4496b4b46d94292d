"""Pictures that come again in another file find their own entry among all the others; different ones find none."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from PIL import Image, ImageOps

from service.cache.cache import HitType, Lookup, Query, ResultCache
from service.cache.cache_store import CacheStore
from service.cache.digests import direct_digest, pixel_digest
from service.cache.entries import Entry
from service.imaging.perceptual_key import perceptual_key

OpenStore = Callable[..., Coroutine[Any, Any, CacheStore]]
Change = Callable[[Image.Image], Image.Image]

DATA = Path(skimage.__file__).parent / "data"
# Not those on which the bounds were chosen: among these are textures, a scan, a drawing, and two nearly black ones.
NAMES = (
    "brick.png",
    "camera.png",
    "cell.png",
    "clock_motion.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "moon.png",
    "page.png",
    "text.png",
)


@cache
def picture(name: str) -> Image.Image:
    with Image.open(DATA / name) as image:
        return image.convert("RGB")


def saved(image_format: str, quality: int) -> Change:
    def change(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, image_format, quality=quality)
        return Image.open(file).convert("RGB")

    return change


def scaled(factor: float) -> Change:
    return lambda image: image.resize((round(image.width * factor), round(image.height * factor)))


def cropped(share: float) -> Change:
    def change(image: Image.Image) -> Image.Image:
        x, y = image.width * share / 2, image.height * share / 2
        return image.crop((round(x), round(y), round(image.width - x), round(image.height - y)))

    return change


SAME = {
    "jpeg-80": saved("JPEG", 80),
    "jpeg-50": saved("JPEG", 50),
    "webp-80": saved("WEBP", 80),
    "double": scaled(2),
    "half": scaled(0.5),
    "half-jpeg-80": lambda image: saved("JPEG", 80)(scaled(0.5)(image)),
    "quarter": scaled(0.25),
    "crop-2%": cropped(0.02),
}
OTHER = {
    "crop-30%": cropped(0.3),
    "crop-50%": cropped(0.5),
    "mirror": ImageOps.mirror,
    "flip": ImageOps.flip,
    "turn-180": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "invert": ImageOps.invert,
}


def query(image: Image.Image, like: Entry) -> Query:
    pixels = np.asarray(image)

    direct = direct_digest(like.bucket, pixel_digest(pixels))
    return Query(like.bucket, direct, Lookup.BOTH, 0.765, image.width / image.height, perceptual_key(pixels))


@pytest.fixture
async def full(open_store: OpenStore, make_entry: Callable[..., Entry]) -> AsyncIterator[tuple[ResultCache, Any]]:
    """A cache that holds an entry for each of the pictures, and these entries by the pictures' names."""
    store = ResultCache(await open_store(), lambda: 0.0)
    entries = {}
    for name in NAMES:
        image = picture(name)
        pixels = np.asarray(image)
        entry = make_entry(look=perceptual_key(pixels), aspect=image.width / image.height)
        entries[name] = replace(entry, direct=direct_digest(entry.bucket, pixel_digest(pixels)))
        assert await store.keep(entries[name])
    yield store, entries
    await store.aclose()


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
async def test_a_copy_finds_its_original(full: tuple[ResultCache, dict[str, Entry]], change: Change) -> None:
    store, entries = full
    for name, entry in entries.items():
        hit = await store.look_up(query(change(picture(name)), entry))
        assert hit is not None, name
        assert (hit.id, hit.hit_type) == (entry.id, HitType.SEMANTIC), name


async def test_the_original_finds_itself_by_its_pixels(full: tuple[ResultCache, dict[str, Entry]]) -> None:
    store, entries = full
    for name, entry in entries.items():
        hit = await store.look_up(query(picture(name), entry))
        assert hit is not None
        assert (hit.id, hit.hit_type) == (entry.id, HitType.DIRECT)


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
async def test_what_looks_different_finds_nothing(full: tuple[ResultCache, dict[str, Entry]], change: Change) -> None:
    store, entries = full
    for name, entry in entries.items():
        assert await store.look_up(query(change(picture(name)), entry)) is None, name
