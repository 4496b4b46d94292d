"""What makes a result a variation: not the picture itself, not a filter, not a crop, and yet the same scene."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from statistics import median

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from variation_measures import colour_change, explain, key_distance, pair_distance

from service.core.values import Size
from service.engine import Source, vary

Pixels = npt.NDArray[np.uint8]

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
IMAGES = 4

LEAST_KEY_DISTANCE = 60
MOST_EXPLAINED = 0.97
MOST_EXPLAINED_MEDIAN = 0.85
LEAST_INLIERS = 40
LEAST_PAIR_BITS = 30
LEAST_PAIR_COLOUR = 6.0


@cache
def variations(source: Source, size: Size) -> list[Pixels]:
    return [vary(source, size, seed=1, index=index) for index in range(IMAGES)]


@pytest.fixture(params=PHOTOS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def made(name: str, analysed: Callable[[str], Source], square: Size) -> list[Pixels]:
    return variations(analysed(name), square)


def is_variation(source: Pixels, other: Pixels) -> bool:
    """The two checks that nothing trivial passes together."""
    return key_distance(source, other) >= LEAST_KEY_DISTANCE and explain(source, other).share <= MOST_EXPLAINED


def test_every_variation_is_one(name: str, photo: Callable[[str], Pixels], made: list[Pixels]) -> None:
    source = photo(name)
    assert min(key_distance(source, image) for image in made) >= LEAST_KEY_DISTANCE
    shares = [explain(source, image).share for image in made]
    assert max(shares) <= MOST_EXPLAINED
    assert median(shares) <= MOST_EXPLAINED_MEDIAN


def test_the_scene_is_still_the_same(name: str, photo: Callable[[str], Pixels], made: list[Pixels]) -> None:
    assert min(explain(photo(name), image).inliers for image in made) >= LEAST_INLIERS


def test_the_variations_of_one_request_differ(made: list[Pixels]) -> None:
    for a, b in itertools.combinations(made, 2):
        bits, colour = pair_distance(a, b)
        assert bits >= LEAST_PAIR_BITS
        assert colour >= LEAST_PAIR_COLOUR


def blurred(image: Pixels) -> Pixels:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 3), np.uint8)


def noisy(image: Pixels) -> Pixels:
    noise = np.random.default_rng(0).normal(0, 13, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def sepia(image: Pixels) -> Pixels:
    matrix = np.array([[0.39, 0.35, 0.27], [0.77, 0.69, 0.53], [0.19, 0.17, 0.13]])
    return np.clip(image @ matrix, 0, 255).astype(np.uint8)


def cropped(image: Pixels) -> Pixels:
    side = image.shape[0]
    margin = side // 10
    return np.asarray(
        cv2.resize(image[margin : side - margin, margin // 2 : side - margin * 3 // 2], (side, side)), np.uint8
    )


def turned_and_cropped(image: Pixels) -> Pixels:
    side = image.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), 5, 1.2)
    return np.asarray(cv2.warpAffine(image, matrix, (side, side)), np.uint8)


@pytest.mark.parametrize(
    "trivial",
    [
        pytest.param(lambda image: image, id="identity"),
        pytest.param(lambda image: image[:, ::-1], id="mirror"),
        pytest.param(sepia, id="sepia"),
        pytest.param(lambda image: np.clip(image * 1.2, 0, 255).astype(np.uint8), id="brightness"),
        pytest.param(blurred, id="blur"),
        pytest.param(noisy, id="noise"),
        pytest.param(cropped, id="crop"),
        pytest.param(turned_and_cropped, id="turn-and-crop"),
    ],
)
def test_what_any_editor_does_is_no_variation(
    name: str, trivial: Callable[[Pixels], Pixels], photo: Callable[[str], Pixels]
) -> None:
    assert not is_variation(photo(name), trivial(photo(name)))


def test_another_photo_is_not_the_same_scene(photo: Callable[[str], Pixels]) -> None:
    assert explain(photo("astronaut.png"), photo("coffee.png")).inliers < LEAST_INLIERS


def test_more_strength_changes_more(analysed: Callable[[str], Source], photo: Callable[[str], Pixels]) -> None:
    def change(strength: float) -> float:
        return median(
            colour_change(photo(name), vary(analysed(name), Size(192, 192), seed=1, index=index, strength=strength))
            for name in PHOTOS
            for index in range(2)
        )

    changes = [change(strength) for strength in (0.05, 0.35, 0.8)]
    assert changes == sorted(changes)
    assert changes[2] > 1.5 * changes[0]
