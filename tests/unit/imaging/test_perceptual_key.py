"""Which files count as the same picture, and which do not."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import skimage
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from service.imaging.perceptual_key import (
    MAX_LAYOUT,
    PerceptualKey,
    hamming,
    is_near,
    layout_distance,
    perceptual_key,
    same_colours,
)

DATA = Path(skimage.__file__).parent / "data"
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "ihc.png", "retina.jpg")

Change = Callable[[Image.Image], Image.Image]


@cache
def photo(name: str) -> Image.Image:
    with Image.open(DATA / name) as image:
        return image.convert("RGB")


def key_of(image: Image.Image) -> PerceptualKey:
    return perceptual_key(np.asarray(image))


def saved(image_format: str, quality: int) -> Change:
    def change(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, image_format, quality=quality)
        return Image.open(file).convert("RGB")

    return change


def scaled(factor: float) -> Change:
    return lambda image: image.resize((round(image.width * factor), round(image.height * factor)))


def cropped(share: float) -> Change:
    """Without ``share`` of both sides, taken off evenly."""

    def change(image: Image.Image) -> Image.Image:
        x, y = image.width * share / 2, image.height * share / 2
        return image.crop((round(x), round(y), round(image.width - x), round(image.height - y)))

    return change


SAME = {
    "jpeg-80": saved("JPEG", 80),
    "jpeg-50": saved("JPEG", 50),
    "webp": saved("WEBP", 80),
    "double": scaled(2),
    "half": scaled(0.5),
    "half-jpeg-80": lambda image: saved("JPEG", 80)(scaled(0.5)(image)),
    "quarter": scaled(0.25),
    "crop-2%": cropped(0.02),
}
OTHER = {
    "crop-20%": cropped(0.2),
    "crop-30%": cropped(0.3),
    "crop-50%": cropped(0.5),
    "mirror": ImageOps.mirror,
    "flip": ImageOps.flip,
    "turn-90": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turn-180": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "invert": ImageOps.invert,
    "grey": lambda image: image.convert("L").convert("RGB"),
    "channels-swapped": lambda image: Image.merge("RGB", image.split()[::-1]),
}


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_the_same_picture_in_another_file_is_recognised(name: str, change: Change) -> None:
    assert is_near(key_of(photo(name)), key_of(change(photo(name))))


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_what_looks_different_is_another_picture(name: str, change: Change) -> None:
    assert not is_near(key_of(photo(name)), key_of(change(photo(name))))


def test_no_photo_is_taken_for_another() -> None:
    keys = [key_of(photo(name)) for name in PHOTOS]
    assert not any(is_near(a, b) for a, b in itertools.combinations(keys, 2))


def test_a_key_has_256_bits_and_64_colours() -> None:
    key = key_of(photo("coffee.png"))
    assert len(key.key) == 32
    assert key.layout.shape == (64, 3)
    assert key.layout.dtype == np.float32


def test_about_half_of_the_bits_are_set() -> None:
    assert 120 <= hamming(key_of(photo("coffee.png")).key, bytes(32)) <= 128


def test_the_layout_is_in_lab() -> None:
    def colour(*rgb: int) -> npt.NDArray[np.float32]:
        return perceptual_key(np.full((80, 80, 3), rgb, np.uint8)).layout[0]

    assert colour(255, 255, 255) == pytest.approx([100, 0, 0], abs=0.05)
    assert colour(0, 0, 0) == pytest.approx([0, 0, 0], abs=0.05)
    assert colour(255, 0, 0) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    assert colour(0, 0, 255) == pytest.approx([32.30, 79.19, -107.86], abs=0.05)


def test_a_picture_of_one_colour_is_nothing_to_be_recognised_by() -> None:
    white, same = (perceptual_key(np.full((side, 90, 3), 250, np.uint8)) for side in (80, 300))
    assert white.key == same.key == bytes(32)
    assert not is_near(white, same)


def product(seed: int) -> Image.Image:
    """A product as shops show them: something nearly white on a white ground, with a few details."""
    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (400, 400), (int(random.integers(247, 256)),) * 3)
    draw = ImageDraw.Draw(picture)
    half_width, half_height = (int(each) for each in random.integers(60, 165, 2))
    tone = int(random.integers(205, 246))
    box = (200 - half_width, 200 - half_height, 200 + half_width, 200 + half_height)
    (draw.ellipse, draw.rectangle)[seed % 2](box, fill=(tone, tone, tone - 4))
    for x, y in random.integers(-60, 60, (3, 2)):
        draw.ellipse((200 + x - 12, 200 + y - 12, 200 + x + 12, 200 + y + 12), fill=(tone - 30,) * 3)
    return picture.filter(ImageFilter.GaussianBlur(1.5))


def test_no_nearly_white_product_is_taken_for_another() -> None:
    keys = [key_of(product(seed)) for seed in range(40)]
    assert not any(is_near(a, b) for a, b in itertools.combinations(keys, 2))


def test_layouts_of_nearly_white_products_are_told_apart_beside_what_is_in_them() -> None:
    # The ground alone makes them nearly the same; the shape's bits are not needed to tell them apart.
    pairs = list(itertools.combinations([key_of(product(seed)) for seed in range(40)], 2))
    alike = [(a, b) for a, b in pairs if layout_distance(a.layout, b.layout) <= MAX_LAYOUT]
    assert len(alike) > 200
    assert sum(same_colours(a, b) for a, b in alike) < len(alike) / 4


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_a_nearly_white_product_is_recognised_in_another_file(change: Change) -> None:
    found = [is_near(key_of(product(seed)), key_of(change(product(seed)))) for seed in range(12)]
    assert sum(found) >= 11


def test_distances_are_counted_in_bits_and_mean_colour_difference() -> None:
    assert hamming(b"\x00" * 32, b"\xff" * 32) == 256
    assert hamming(b"\x01" + b"\x00" * 31, b"\x80" + b"\x00" * 31) == 2
    layout = np.zeros((64, 3), np.float32)
    assert layout_distance(layout, layout + np.array([3, 0, 4], np.float32)) == pytest.approx(5)


def test_both_bounds_must_be_kept() -> None:
    layout = np.zeros((64, 3), np.float32)
    layout[::2] = 50
    key = PerceptualKey(bytes(32), layout)
    assert is_near(key, PerceptualKey(b"\x0f" * 15 + bytes(17), layout))
    assert not is_near(key, PerceptualKey(b"\x0f" * 15 + b"\x01" + bytes(16), layout))
    assert is_near(key, PerceptualKey(bytes(32), layout + np.array([6, 0, 0], np.float32)))
    assert not is_near(key, PerceptualKey(bytes(32), layout + np.array([6.1, 0, 0], np.float32)))


@pytest.mark.parametrize("shape", [(1, 1), (3, 8), (10, 2000), (64, 63)])
def test_pictures_of_any_size_have_a_key(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert perceptual_key(pixels).key == perceptual_key(pixels.copy()).key


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(np.zeros((4, 4), np.uint8), id="no-channels"),
        pytest.param(np.zeros((4, 4, 4), np.uint8), id="alpha"),
        pytest.param(np.zeros((0, 4, 3), np.uint8), id="empty"),
        pytest.param(np.zeros((4, 4, 3), np.float32), id="floats"),
    ],
)
def test_other_arrays_are_refused(pixels: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="expected"):
        perceptual_key(pixels)


def test_a_repr_shows_no_picture() -> None:
    assert repr(key_of(photo("coffee.png"))) == "PerceptualKey()"
